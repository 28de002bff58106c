"""Two methods on one map, and reports, in a real browser; what is kept of a run for them."""

from __future__ import annotations

import functools
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from app.runs.on_cpu import on_cpu
from app.session.examples import Example, load_examples
from app.session.session import Session
from tests.app.conftest import Server
from tests.app.fake import FakeEngine
from tests.app.test_browser import page as page  # a fixture
from vscan_core import REDUCERS
from vscan_core.events import Done


def test_what_is_kept_of_a_run_is_small_and_its_own(picture: str) -> None:
    session = Session(FakeEngine())
    makers = [functools.partial(session.engine.method("vscan"), 1 / 9)]
    *_, done = (event for event in session.run_each("mini", picture, "What?", makers) if isinstance(event, Done))
    image = done.answer.trace.images[0]
    image.cuts[0].scores["global"] = torch.rand(1000, 576)[7]  # a view of a large tensor
    kept = on_cpu(done.answer)
    assert len(pickle.dumps(kept)) < 50_000 < len(pickle.dumps(done.answer))
    assert kept.trace.images[0].cuts[0].scores["global"].equal(image.cuts[0].scores["global"])
    assert (
        kept.trace.visual_tokens_per_layer == done.answer.trace.visual_tokens_per_layer
        and kept.text == done.answer.text
    )
    image.cuts[-1].kept.zero_()
    assert kept.trace.images[0].kept.sum() > 0


def kept_by(server: Server, example: Example, *methods: str) -> dict[str, set[int]]:
    """What these methods keep of the example."""
    makers = [functools.partial(server.session.engine.method(name), 0.111) for name in methods]
    events = server.session.run_each("mini", example.image, example.question, makers)
    done = [event.answer for event in events if isinstance(event, Done)]
    return {answer.method: set(answer.trace.images[0].kept.tolist()) for answer in done}


def test_a_visitor_sees_two_methods_on_one_map_and_saves_a_report(
    page: Any, mini_server: Server, tmp_path: Path
) -> None:
    example = load_examples()[0]
    page.goto(mini_server.url + "?tab=arena&methods=random,vscan,grid&keep=11.1")
    page.wait_for_function("() => document.querySelector('#arena-budget')?.innerText.includes('Grid')")
    assert page.locator("#arena-map").count() == 0
    page.click("#arena-run")
    page.wait_for_selector("#arena-map .stage-view img")
    kept = kept_by(mini_server, example, "random", "vscan", "grid")

    def legend(one: str, other: str) -> str:
        """With the names: both may share as many tokens with VScan."""
        a, b = kept[one], kept[other]
        counts = [len(part) for part in (a & b, a - b, b - a)] + [576 - len(a | b)]
        names = ["Both keep", *(f"Only {REDUCERS[name].title}" for name in (one, other)), "Neither"]
        return ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))

    shown = """want => [...document.querySelectorAll('#arena-map .stage-legend li')]
        .map(row => row.innerText.replace(/\\s+/g, ' ').trim()).join(', ') === want"""
    page.wait_for_function(shown, arg=legend("vscan", "random"))
    page.click("#arena-other input")
    page.get_by_role("option", name="Grid", exact=True).click()
    page.wait_for_function(shown, arg=legend("vscan", "grid"))
    assert page.evaluate("document.querySelector('#arena-map .stage').stage.state.view") == "both"
    page.locator("#arena-map .stage-view").focus()
    page.keyboard.press("ArrowRight")
    assert re.search(r"\. VScan: kept.* Grid: (kept|dropped)\.", page.inner_text("#arena-map .stage-told"))
    for width in (390, 1400):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    with page.expect_download() as download:
        page.click("#arena-html")
    download.value.save_as(tmp_path / "report.html")
    page.goto(f"file://{tmp_path}/report.html")
    assert page.locator("article h2").all_inner_texts() == ["Baseline", "Random", "VScan", "Grid"]
    assert page.inner_text(".question") == example.question and page.locator("script").count() == 0
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 500)")


def test_a_visitor_saves_a_report(page: Any, mini_server: Server, tmp_path: Path) -> None:
    page.goto(mini_server.url + "?tab=sweep")
    for share in ("100 %", "50 %", "33.3 %", "22.2 %", "5.6 %"):
        page.get_by_role("checkbox", name=share, exact=True).uncheck()
    page.click("#sweep-run")
    page.wait_for_selector("#sweep-html:not([disabled])")
    with page.expect_download() as download:
        page.click("#sweep-html")
    assert download.value.suggested_filename == "vscan-sweep.html"
    download.value.save_as(tmp_path / "report.html")
    page.goto(f"file://{tmp_path}/report.html")
    assert page.locator("article h2").all_inner_texts() == ["Baseline", "11.1 %", "2.8 %"]
    shown = page.locator("article .steps").all_inner_texts()
    assert shown == ["Visual tokens: 576", "Visual tokens: 576 → 96 → 32", "Visual tokens: 576 → 24 → 8"]
