"""The Sweep with a fake engine: rows, pictures, chart, refusals, Stop, and the files that can be saved."""

from __future__ import annotations

import csv
import io
import json
import pickle
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from app import formatting
from app.charts.first_token import first_token_chart
from app.runs.progress import RunState
from app.session.engine import Engine
from app.session.examples import Example
from app.session.session import Session
from app.sweep.page import SweepPage
from app.sweep.settings import SWEEP_RETENTIONS
from tests.app.conftest import MINI
from tests.app.fake import FakeEngine

EVIL = "<img src=x onerror=alert(1)> ${alert(2)}"
ALL = [str(share) for share in SWEEP_RETENTIONS]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # a toast outside of a page becomes a warning


def page_with(engine: Any, examples: tuple[Example, ...] = ()) -> SweepPage:
    with gr.Blocks():
        return SweepPage(Session(engine), list(examples))


@pytest.fixture
def page() -> SweepPage:
    return page_with(FakeEngine())


def run(page: SweepPage, picture: str | None, retentions: Any = ("0.5", "0.1"), **other: Any) -> list[dict[Any, Any]]:
    given = {"model": "mini", "question": "What?", "method": "vscan"} | other
    return list(page.on_run(given["model"], picture, given["question"], list(retentions), given["method"]))


def rows(page: SweepPage, step: dict[Any, Any]) -> list[list[str]]:
    shown: list[list[str]] = step[page.outputs.table]["metadata"]["display_value"]
    return shown


def test_every_retention_gets_a_row_a_picture_and_a_bar(page: SweepPage, picture: str) -> None:
    last = run(page, picture, reversed(ALL))[-1]
    shown = rows(page, last)
    assert [row[0] for row in shown] == ["Baseline", "100 %", "50 %", "33.3 %", "22.2 %", "11.1 %", "5.6 %", "2.8 %"]
    assert [row[3] for row in shown] == [
        "576", "576", "432 → 144", "288 → 96", "192 → 64", "96 → 32", "48 → 16", "24 → 8"
    ]  # fmt: skip
    assert shown[0][2] == "reference" and {row[2] for row in shown[1:]} == {"= yes"}
    assert (
        shown[5][7] == "160" and shown[5][10] == f"8.3 {formatting.TIMES}"
    )  # 6.25 ms per token; 144 ms against 16 + 1.3
    captions = [caption for _, caption in last[page.outputs.gallery]]
    assert captions[0] == "100 % · 576 · same answer" and captions[6] == "2.8 % · 24 → 8 · same answer"
    figure = last[page.outputs.plots[0]]
    assert list(figure.data[2].x) == [row[0] for row in shown] and figure.data[2].y[0] == 144
    assert "7 of 7 runs" in last[page.outputs.status]


def test_runs_stream_in_one_by_one(page: SweepPage, picture: str) -> None:
    steps = run(page, picture)
    ended = [sum(row[5] is not None for row in step[page.outputs.table]["data"]) for step in steps]
    assert ended == sorted(ended) and set(ended) == {0, 1, 2, 3}
    bars = [len(step[page.outputs.plots[0]].data[0].x) for step in steps if page.outputs.plots[0] in step]
    assert bars == sorted(bars) and set(bars) == {1, 2, 3}


def test_a_retention_out_of_reach_says_so_and_the_others_go_on(page: SweepPage, picture: str) -> None:
    last = run(page, picture, ("0.6", "0.1"), method="picky")[-1]
    _, reached, refused = rows(page, last)
    assert reached[2] == "= yes" and refused[1].startswith("Cannot run here: Picky cannot keep less than 50 %")
    assert "<" not in refused[1] and len(last[page.outputs.gallery]) == 1
    saved = json.loads(page.written("json", last[page.state]))
    assert saved["runs"][2]["retention"] == 0.1 and saved["runs"][2]["problem"]


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"retentions": ()}, "between 1 and 20"),
        ({"retentions": ("0",)}, "above 0"),
        ({"method": "magic"}, "no method"),
        ({"question": " "}, "ask a question"),
        ({"picture": None}, "choose a picture"),
        ({"model": "big"}, "needs about 16.2 GB"),
    ],
)
def test_bad_input_is_one_sentence_and_the_page_lives_on(
    page: SweepPage, picture: str, other: dict[str, Any], sentence: str
) -> None:
    given = {"picture": picture} | other
    last = run(page, given.pop("picture"), **given)[-1]
    assert sentence in last[page.outputs.status]
    assert not page.session.device("mini").busy
    assert len(rows(page, run(page, picture)[-1])) == 3


def test_stop_frees_the_device_and_what_had_ended_can_be_saved(picture: str) -> None:
    engine = FakeEngine(pause_s=0.001, answer_words=("w",) * 30)
    page = page_with(engine)
    steps = page.on_run("mini", picture, "What?", ["0.5", "0.1"], "vscan")
    step = next(each for each in steps if sum(row[5] is not None for row in each[page.outputs.table]["data"]) == 2)
    assert page.session.device("mini").busy and engine.alive == 1
    steps.close()
    assert not page.session.device("mini").busy and engine.alive == 0
    assert page.on_end(step[page.state])[page.outputs.saves["json"]]["interactive"]
    saved = json.loads(page.written("json", step[page.state]))
    assert [run["retention"] for run in saved["runs"]] == [None, 0.5] and not saved["ended"]
    assert not page.on_end(None)[page.outputs.saves["json"]]["interactive"]


def test_the_files_hold_what_was_shown(page: SweepPage, picture: str) -> None:
    last = run(page, picture, question=EVIL)[-1]
    numbers, rows_file, image, report = (page.written(kind, last[page.state]) for kind in page.outputs.saves)
    found = json.loads(numbers)
    assert found["settings"]["question"] == EVIL and found["settings"]["retentions"] == [0.5, 0.1]
    lines = list(csv.DictReader(io.StringIO(rows_file.decode())))
    assert [line["visual_token_steps"] for line in lines] == ["576", "432 144", "86 29"]
    assert all(float(line["tflops_full"]) > float(line["tflops"]) for line in lines)
    assert [float(line["survey_ratio"]) for line in lines] == pytest.approx([1, 0.5, 0.1], abs=0.01)
    assert float(lines[-1]["survey_ratio_printed"]) < 0
    assert float(lines[1]["tokens_per_second"]) == 160 and lines[0]["method"] == "baseline"
    with Image.open(io.BytesIO(image)) as drawn:
        assert drawn.width == 1760
    text = report.decode()
    assert EVIL not in text and escape(EVIL) in text and "VScan at 2 retentions." in text
    assert [text.count(f"<h2>{title}</h2>") for title in ("Baseline", "50 %", "10 %")] == [1, 1, 1]
    assert len(pickle.dumps(last[page.state])) < 100_000


def test_what_visitor_and_model_wrote_never_reaches_html(picture: str) -> None:
    page = page_with(FakeEngine(answer_words=(EVIL,)))
    for step in run(page, picture, question=EVIL):
        for widget, value in step.items():
            if isinstance(widget, gr.HTML | gr.Markdown | gr.Gallery | gr.Plot):
                assert "alert" not in str(value)


def test_text_of_random_weights_is_not_shown(page: SweepPage, picture: str) -> None:
    page.session.models._there["dummy:x"] = page.session.model("mini")
    last = run(page, picture, model="dummy:x")[-1]
    assert "red ball" not in str(rows(page, last)) and "same answer" not in str(last[page.outputs.gallery])
    assert set(last[page.outputs.plots[0]].data[3].text) == {"<b></b>"}


def test_another_picture_clears_the_old_answers(page: SweepPage, picture: str, tmp_path: Path) -> None:
    out = page.on_picture("mini", picture, ["0.1"], "vscan")
    assert out[page.outputs.table]["data"] == [] and out[page.state] is None and "86 → 29" in out[page.inputs.budget]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"text")
    assert "not a picture" in page.on_picture("mini", str(bad), ["0.1"], "vscan")[page.outputs.status]


def test_the_budget_names_the_method_and_every_count(page: SweepPage, picture: str) -> None:
    text = page.on_budget("mini", picture, ["0.1", "0.6"], "picky")
    assert text.startswith("Picky: Refuses small budgets") and "- **60 %**: 518 → 173" in text
    assert "- **10 %**: cannot run here" in text and page.session.engine.steps == 0


def test_the_chart_tells_agreement_by_sign() -> None:
    answer = {"timings": {"vision_ms": 20.0, "reduce_ms": 1.0, "prefill_ms": 30.0, "vision_shared_ms": 18.0}}
    runs = [
        RunState("Baseline", "baseline", answer=answer),
        RunState("50 %", "vscan", 0.5, answer=answer, same=True),
        RunState("10 %", "vscan", 0.1, answer=answer, same=False),
        RunState("5 %", "vscan", 0.05, problem="Cannot run here."),
    ]
    figure = first_token_chart(runs)
    assert list(figure.data[3].text) == ["<b></b>", "<b>=</b>", "<b>≠</b>"] and set(figure.data[3].y) == {51}


def test_the_embedded_model_goes_through_all_retentions(picture: str) -> None:
    if not (MINI / "config.json").is_file():
        pytest.skip("the embedded model is not in assets/mini")
    page = page_with(Engine())
    last = run(page, picture, ALL, question="How many things are there?")[-1]
    values = last[page.outputs.table]["data"]
    kept = [row[4] for row in values]
    assert kept[0] == kept[1] == 576 and kept == sorted(kept, reverse=True) and kept[-1] == 16
    cache = [row[8] for row in values]
    assert cache[0] == cache[1] and cache[-1] < cache[0] / 10
    assert values[1][1] == values[0][1] and values[1][2] == "= yes"  # all tokens kept: the baseline's own answer
    assert "2.8 %" in page.on_budget("mini", picture, SWEEP_RETENTIONS, "vscan")
