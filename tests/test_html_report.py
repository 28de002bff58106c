"""The report: one file that needs nothing else, tells what was recorded, and runs nothing that was typed."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.test_recording import EXAMPLES, load_shipped
from vscan_core.cli.main import main
from vscan_core.html_report import html_report
from vscan_core.resources import asset

HOSTILE = """<script>alert(1)</script> "><img src=x onerror='alert(2)'> &lt; é"""


class Parts(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data) -> None:
        self.text += data


@pytest.fixture(scope="module")
def recording():
    return load_shipped(EXAMPLES[0])


@pytest.fixture(scope="module")
def page(recording) -> str:
    return html_report(recording, ["Artwork: Twemoji, CC-BY 4.0."])


def test_it_shows_answers_figures_and_their_origin(recording, page) -> None:
    text = Parts(page).text
    for run in recording.runs:
        assert run.title in text and run.answer.text in text and (run.settings in text)
        assert f"{run.answer.cost.kv_bytes / 1e6:,.2f} MB" in text
        assert f"{run.spread('prefill_ms')[0]:.1f} ms" in text
    assert "576 → 96 → 32" in text and "Model mini: Apache-2.0." in text and "Twemoji" in text
    assert recording.facts["hardware"] in text and recording.facts["versions"]["torch"] in text
    assert ("= the same answer" in text) and ("≠ another answer" in text)
    tags = [attrs for tag, attrs in Parts(page).tags if tag == "img"]
    assert len(tags) == len(recording.runs) and all(one["src"].startswith("data:image/jpeg;base64,") for one in tags)
    assert all(one["alt"] for one in tags) and len(page) < 600_000


def test_it_loads_nothing(page) -> None:
    parts = Parts(page)
    assert not {"script", "link", "iframe", "object", "form", "a"} & {tag for tag, _ in parts.tags}
    assert "default-src 'none'" in page and "script-src" not in page
    without_pictures = re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", page)
    assert "http" not in re.sub(r"http-equiv", "", without_pictures) and "url(" not in page and "@import" not in page


def test_what_was_typed_is_text(recording) -> None:
    run = recording.runs[1]
    hostile = replace(run, title=HOSTILE, settings=HOSTILE, answer=replace(run.answer, text=HOSTILE))
    facts = {"hardware": HOSTILE, "versions": {HOSTILE: HOSTILE}, HOSTILE: 1}
    made = replace(
        recording, question=HOSTILE, note=HOSTILE, model=HOSTILE, facts=facts, runs=(recording.runs[0], hostile)
    )
    parts = Parts(html_report(made, [HOSTILE]))
    assert parts.text.count(HOSTILE) >= 10
    tags = {tag for tag, _ in parts.tags}
    assert "script" not in tags and not [attrs for _, attrs in parts.tags if {"onerror", "onload"} & attrs.keys()]


def test_times_of_a_busy_machine_are_not_compared(recording) -> None:
    calm, busy = (with_vision(recording, factor) for factor in (1.1, 1.3))
    assert "Baseline / this" in html_report(calm) and "busy" not in html_report(calm)
    assert "Baseline / this" not in html_report(busy) and "the machine was busy" in html_report(busy)


def with_vision(recording, factor):
    runs = [
        replace(run, repeats={**run.repeats, "vision_ms": (10.0 * (factor if place else 1),) * 5})
        for place, run in enumerate(recording.runs)
    ]
    return replace(recording, runs=tuple(runs))


def test_random_weights_and_unknown_pictures_get_no_verdict(recording) -> None:
    text = Parts(html_report(replace(recording, random_weights=True))).text
    assert "means nothing" in text and recording.runs[0].answer.text not in text and "the same answer" not in text
    first = recording.runs[0]
    odd = replace(recording, runs=(replace(first, answer=replace(first.answer, hint="A guess.")), *recording.runs[1:]))
    text = Parts(html_report(odd)).text
    assert "A guess." in text and "answer as with all tokens" not in text


def test_the_command_writes_it(capsys, tmp_path) -> None:
    picture, path = str(asset("examples", EXAMPLES[0]["image"])), tmp_path / "report.html"
    words = ["compare", "--image", picture, "--question", "Where <b>is</b> it?", "--max-new-tokens", "3", "--method"]
    assert main([*words, "vscan,grid,pyramiddrop", "--report", str(path)]) == 0
    text = Parts(path.read_text(encoding="utf-8")).text
    assert "Where <b>is</b> it?" in text and "Single runs, not a benchmark" in text
    assert "Grid" in text and "vscan compare" in text and str(Path(picture).parent) not in text
    assert main([*words, "vscan", "--report", str(tmp_path / "no" / "such.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err
