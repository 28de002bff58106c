"""The load tools: visitors get answers from a real demo, what is lost or grows is noticed, figures are right."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.session.examples import Example
from benchmarks.load import __main__ as command
from benchmarks.load.crowd import broken_promises, measure_crowd, measure_soak
from benchmarks.load.demo_process import DemoProcess, demo_process
from benchmarks.load.headless_page import HeadlessPage
from benchmarks.load.simulated_visitor import VisitNotes, drawn_picture, visit
from benchmarks.load.watching import Holdings, growth_per_100, holdings, median_and_p95, thinned
from tests.app.conftest import serving
from tests.app.fake import FakeEngine
from tests.ways import run_apart
from vscan_core.errors import InputError

GOOD: dict[str, Any] = {
    "asked": 3,
    "answered": 3,
    "previews": 9,
    "previews_refused": 0,
    "problems": 0,
    "first_problems": [],
    "healthz_ms": {"max": 20.0},
    "growth_per_100_requests": {"rss_mb": 0.2, "threads": 0.0, "descriptors": 0.1, "files": -0.1},
}


def test_percentiles() -> None:
    assert median_and_p95(range(1, 101)) == {"median": 50.5, "p95": 95, "max": 100, "n": 100}
    assert median_and_p95([2.0]) == {"median": 2, "p95": 2, "max": 2, "n": 1} and median_and_p95([]) == {"n": 0}


def test_growth_is_the_slope_through_all_samples() -> None:
    samples = [Holdings(requests, 500 + 0.02 * requests, 30, 50, 0) for requests in range(0, 1000, 50)]
    assert growth_per_100(samples, "rss_mb") == pytest.approx(2.0, abs=1e-6)
    assert growth_per_100(samples, "threads") == 0 == growth_per_100(samples[:1], "rss_mb")
    spiky = [replace(each, rss_mb=500 + 100 * (place in (0, len(samples) - 1))) for place, each in enumerate(samples)]
    assert abs(growth_per_100(spiky, "rss_mb")) < 1e-6
    assert len(thinned(samples, 7)) <= 7 and thinned(samples, 7)[0]["requests"] == 0


def test_every_promise_of_a_load_can_be_broken() -> None:
    assert broken_promises(GOOD) == []
    for change, word in [
        ({"answered": 2}, "answered"),
        ({"asked": 0, "answered": 0}, "answered"),
        ({"previews_refused": 1}, "previews"),
        ({"problems": 1, "first_problems": ["run: no"]}, "run: no"),
        ({"healthz_ms": {"max": 1000.0}}, "/healthz"),
        ({"healthz_ms": {"max": float("inf")}}, "/healthz"),
        ({"growth_per_100_requests": {"rss_mb": 1.0}}, "rss_mb"),
        ({"growth_per_100_requests": {"files": 0.6}}, "files"),
    ]:
        (sentence,) = broken_promises(GOOD | change)
        assert word in sentence


def test_pictures_differ_and_come_again(tmp_path: Path) -> None:
    assert drawn_picture(1) == drawn_picture(1) != drawn_picture(2)
    (tmp_path / "a.png").write_bytes(drawn_picture(3))
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (320, 240)


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoProcess]:
    with demo_process() as found:
        yield found


def test_a_small_crowd_gets_all_its_answers(demo: DemoProcess) -> None:
    row = run_apart(lambda: measure_crowd(demo, 2, 0.5, pause_s=0.05))
    assert row["asked"] == row["answered"] >= 2 and row["previews"] == 5 * row["asked"]
    assert row["previews_refused"] == row["problems"] == 0, row["first_problems"]
    assert 0 < row["wait_s"]["median"] <= row["answer_s"]["median"] and row["healthz_ms"]["n"] >= 1


def test_a_short_soak_looks_at_the_demo_again_and_again(demo: DemoProcess) -> None:
    row = run_apart(lambda: measure_soak(demo, 1, 1.0, pause_s=0.05, every_s=0.2))
    assert row["asked"] == row["answered"] >= 1 and len(row["samples"]) >= 3
    assert set(row["growth_per_100_requests"]) == {"rss_mb", "threads", "descriptors", "files"}
    now = holdings(demo)
    assert now.rss_mb > 100 and now.threads > 1 and now.descriptors > 3 and now.files >= 1


def test_a_demo_that_does_not_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="no such model|there is no model"), demo_process(arguments=["--model", "x"]):
        pass


def notes_of(engine: FakeEngine, picture: str) -> VisitNotes:
    """One visit to a demo on this engine."""
    notes = VisitNotes()
    with serving(engine, [Example(picture, "What is there?")]) as server:
        run_apart(lambda: visit(server.url, 1, notes, random.Random(1), previews=1, pause_s=0.0, pictures=1))
    return notes


@pytest.fixture
def picture(tmp_path: Path) -> str:
    (tmp_path / "picture.png").write_bytes(drawn_picture(0))
    return str(tmp_path / "picture.png")


def test_a_visit_without_trouble(picture: str) -> None:
    notes = notes_of(FakeEngine(), picture)
    assert notes.asked == notes.answered == 1 and notes.previews == 2 and notes.problems == []


def test_a_lost_answer_is_noticed(picture: str) -> None:
    notes = notes_of(FakeEngine(fails_with=RuntimeError("broken")), picture)
    assert (notes.asked, notes.answered) == (1, 0) and any(each.startswith("run: ") for each in notes.problems)


class Blind(FakeEngine):
    """Refuses every picture."""

    def inputs(self, lvlm: Any, image: Image.Image, question: str) -> Any:
        raise InputError("This model is busy.")


def test_a_refused_preview_is_noticed(picture: str) -> None:
    notes = notes_of(Blind(), picture)
    assert notes.previews_refused == notes.previews == 2 and notes.answered == 0


def test_a_page_that_is_not_there_is_noticed() -> None:
    notes = VisitNotes()
    run_apart(lambda: visit("http://127.0.0.1:9", 1, notes, random.Random(1), previews=1, pause_s=0.0, pictures=1))
    assert notes.asked == 0 and "ConnectError" in notes.problems[0]


def test_what_follows_an_event_is_fired_and_outputs_go_back_into_the_widgets(picture: str) -> None:
    async def ask(url: str) -> tuple[list[str], Any]:
        page = HeadlessPage(url)
        try:
            await page.open()
            ends = await page.happen(None, "load")
            return [end.event for end in ends if end.ok], page.value("picture")
        finally:
            await page.close()

    with serving(FakeEngine(), [Example(picture, "What is there?")]) as server:
        fired, shown = run_apart(lambda: ask(server.url))
    assert fired[:2] == ["on_load", "on_open"] and shown


@pytest.mark.parametrize(
    "arguments", [["--visitors", "0"], ["--visitors", "999"], ["--minutes", "99"], ["--soak", "0"]]
)
def test_loads_are_bounded(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert "please use" in capsys.readouterr().err


def test_the_command_writes_a_record_and_fails_if_a_promise_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo: DemoProcess
) -> None:
    class Running:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def __enter__(self) -> DemoProcess:
            return demo

        def __exit__(self, *_: object) -> None:
            pass

    async def measured(_: DemoProcess, visitors: int, seconds: float) -> dict[str, Any]:
        return GOOD | {"visitors": visitors, "seconds": seconds, "answered": 2}

    monkeypatch.setattr(command, "demo_process", Running)
    monkeypatch.setattr(command, "measure_crowd", measured)
    arguments = ["--visitors", "7", "--minutes", "0.5", "--out", str(tmp_path / "record.json")]
    with ThreadPoolExecutor(1) as beside, pytest.raises(SystemExit, match="Of 3 runs, 2 were answered"):
        beside.submit(command.main, arguments).result()  # a driven browser has an event loop in this thread
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["command"] == "python -m benchmarks.load --minutes 0.5 --visitors 7" and record["seconds"] == 30
    assert record["broken"] and record["date"] and record["hardware"]
