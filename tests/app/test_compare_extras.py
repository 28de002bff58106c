"""What Compare offers beside its answers: a run as code, its report in one file, and what mattered for the answer."""

from __future__ import annotations

import ast
import io
import shlex
import statistics
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import torch
from PIL import Image

from app.compare.mattered import LEAVING_OUT, MOST_S, region_score
from app.compare.page import ComparePage
from app.compare.page_file import measured_in_words
from app.runs.pairs import pairs_summary
from app.session.examples import Example
from app.session.session import ONLY_PICTURES, Session
from app.session.turn import Pair
from app.ui.messages import MEANINGLESS_TEXT
from tests.app.conftest import Server, serving, visiting
from tests.app.fake import GRID, TOKENS, FakeEngine, FakeLVLM, fake_answer, fake_trace
from tests.app.hall import TOLD, drawn, move_to
from tests.app.test_browser import SHIFTS, open_page, wait_for_stop
from vscan_core.catalog import DUMMY
from vscan_core.errors import InputError
from vscan_core.events import Timings
from vscan_core.what_mattered import RegionsLeftOut, WhatMattered

EVIL = "</title><script>alert(1)</script>'; rm -rf / #"
SCORE = "() => document.querySelector('.stage').stage.map.data.scores.find(({ name }) => name === 'mattered')"
VIEW = "() => document.querySelector('.stage-views [aria-checked=true]')?.textContent"
ENDED = "() => document.querySelector('#status').innerText.includes('the map shows how much')"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # a toast outside of a page becomes a warning


class Regions(FakeEngine):
    """Leaves out two regions, left and right; without the right one, the answer is another."""

    seconds, asked = 1.0, 0

    def leave_regions_out(self, lvlm: Any, image: Any, question: str) -> Generator[Any, None, None]:
        self.alive += 1
        try:
            for done in range(2 if not self.pause_s else 600):
                self.asked += 1
                time.sleep(self.pause_s)
                yield RegionsLeftOut(done, 2, self.seconds)
            yield self.found(lvlm, image)
        finally:
            self.alive -= 1

    def found(self, lvlm: Any, image: Any) -> WhatMattered:
        halves = [tuple(i for i in range(TOKENS) if (i % GRID >= GRID // 2) is right) for right in (False, True)]
        answer = fake_answer("<b>red</b>", fake_trace(lvlm, image, None), "baseline")
        return WhatMattered(answer, -0.1, torch.tensor([[0.0, 3.0]]), torch.tensor([[False, True]]), (tuple(halves),))


def page_with(engine: FakeEngine) -> ComparePage:
    with gr.Blocks():
        return ComparePage(Session(engine), [])


def values(picture: str | None, question: str = "What?", model: str = "mini", percent: float = 11.1) -> list[Any]:
    return [model, picture, None, question, percent, "vscan"]


def shown_after(page: ComparePage, asked: list[Any]) -> Any:
    return list(page.runs.on_run(*asked))[-1][page.shown]


def test_a_run_is_copied_as_it_is_chosen(picture: str) -> None:
    recipe = page_with(FakeEngine()).recipe(*values(picture, EVIL, percent=33.3))
    words = shlex.split(recipe.as_command)
    assert words[:6] == ["vscan", "compare", "--method", "vscan", "--retention", "0.333"]
    assert words[words.index("--question") + 1] == EVIL and Path(picture).name in words
    texts = [node.value for node in ast.walk(ast.parse(recipe.as_python)) if isinstance(node, ast.Constant)]
    assert EVIL in texts and 0.333 in texts
    with pytest.raises(InputError, match="choose a picture"):
        page_with(FakeEngine()).recipe(*values(None))


def test_the_report_is_of_the_run_that_is_shown_and_escapes_what_was_asked(picture: str) -> None:
    page = page_with(FakeEngine())
    asked = values(picture, EVIL)
    shown = shown_after(page, asked)
    assert [update["interactive"] for update in page.files.on_end(shown)] == [True, True]
    text = page.files.report(shown).decode()
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text and "data:image/jpeg;base64," in text
    assert "Visual tokens: 576 → 96 → 32" in text and "Median of 7 alternating rounds" in text
    again = page.files.report(shown_after(page, asked)).decode()
    assert "kept from an earlier run" in again and "kept from an earlier run" not in text


def test_who_keeps_others_waiting_is_told_why_no_speed_is_shown(picture: str) -> None:
    page = page_with(FakeEngine())
    steps = page.runs.on_run(*values(picture))
    next(steps), next(steps)
    other = page.session.compare("mini", picture, "Mine?", 0.2)
    assert next(other) is None
    *_, last = steps
    other.close()
    assert "Others are waiting" in last[page.outputs.measured] and last[page.outputs.repeat]["interactive"]


def test_a_run_that_was_stopped_or_cannot_be_reported_has_no_file(picture: str) -> None:
    page = page_with(FakeEngine())
    steps = page.runs.on_run(*values(picture))
    part = next(steps)
    steps.close()
    assert part[page.outputs.report]["interactive"] is False
    for shown in (None, part[page.shown]):
        assert page.files.on_end(shown) == [{"__type__": "update", "interactive": False}] * 2


def test_the_page_as_a_picture_has_the_tokens_and_both_answers(picture: str) -> None:
    page = page_with(FakeEngine())
    file = page.files.page(shown_after(page, values(picture, "What?")))
    with Image.open(io.BytesIO(file)) as drawn:
        colours = drawn.convert("RGB").resize((400, 400)).getcolors(160_000)
        assert drawn.width == 1760 and drawn.height > 700 and len(colours) > 100  # not a blank page
    assert page.files.page(shown_after(page, values(picture, "What else?"))) != file


def test_what_was_measured_is_said_in_words_or_not_at_all() -> None:
    def pair(prefill: float, vision: float = 30.0) -> Pair:
        return Pair(*(Timings(v, 0.0, p, v + p, None, v + p) for v, p in ((30.0, 40.0), (vision, prefill))))

    found = pairs_summary([pair(10.0), pair(8.0), pair(9.0)])
    assert found and measured_in_words(found).startswith("Median of 3 pairs of runs: prefill 4.4")
    assert "(4 to 5)" in measured_in_words(found)
    for pairs in ([pair(10.0)], [pair(10.0, 60.0)] * 3):
        few = pairs_summary(pairs)
        assert few and measured_in_words(few).startswith("No factor is given")


def test_what_mattered_is_one_more_heat_map_that_stays_while_the_same_is_asked(picture: str) -> None:
    page = page_with(Regions())
    asked = values(picture)
    shown = shown_after(page, asked)
    first, last = page.mattered.on_ask(*asked, shown)  # the second step follows too soon to be told
    status, stage = page.ask.status, page.tokens.stage
    assert first == {status: LEAVING_OUT.format(done=0, total=2)}
    assert last[status].startswith("Leaving out any of 1 of the 2 regions changes the answer")
    data = drawn(last[stage])
    score = data["scores"][-1]
    assert data["ran"] and data["opens"] == score["name"] == "mattered" and "“<b>red</b>”" in score["about"]
    assert score["values"][: GRID // 2] == [0.0] * 12 and score["values"][GRID // 2 : GRID] == [3.0] * 12
    assert score["ranks"][12] == 1 and score["ranks"][0] == TOKENS // 2 + 1

    moved = drawn(page.on_setting(*values(picture, percent=20.0), shown)[stage])
    assert moved["scores"][-1] == score and moved["opens"] is None and not moved["ran"]
    other = drawn(page.on_setting(*values(picture, "Where?"), shown)[stage])
    assert all(one["name"] != "mattered" for one in other["scores"])


def test_what_mattered_is_refused_in_a_sentence(picture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_with(Regions())
    engine: Any = page.session.engine

    def said(*asked: Any) -> str:
        return str(list(page.mattered.on_ask(*asked, None))[-1][page.ask.status])

    engine.seconds = MOST_S + 1
    assert "about 61 seconds" in said(*values(picture)) and engine.alive == 0 and engine.asked == 1
    assert "choose a picture" in said(*values(None))
    assert MEANINGLESS_TEXT in said(*values(picture, model=f"{DUMMY}llava"))
    engine.seconds = 1.0
    monkeypatch.setattr("app.session.session.Video", type(page.session.open(picture).image))
    assert ONLY_PICTURES in said(*values(picture))
    assert engine.asked == 1 and not page.session.device("mini").busy


def test_tokens_without_a_place_have_no_value() -> None:
    answer = fake_answer("a " * 40, fake_trace(FakeLVLM(), Image.new("RGB", (48, 48)), None), "baseline")
    found = WhatMattered(
        answer, -1.0, torch.tensor([[2.0, torch.nan]]), torch.zeros(1, 2, dtype=torch.bool), (((0, 5), ()),)
    )
    score = region_score(found)
    assert score.values[[0, 5]].tolist() == [2.0, 2.0] and int(score.values.isnan().sum()) == TOKENS - 2
    assert "the answer becomes" in score.about  # a long one is not repeated


def test_stop_ends_it(browser: Any, picture_file: str) -> None:
    engine: Any = Regions(pause_s=0.1)
    with serving(engine, [Example(picture_file, "What is there?")]) as server, visiting(browser) as page:
        open_page(page, server)
        page.click("#mattered")
        page.wait_for_function("() => document.querySelector('#status').innerText.includes('Leaving out')")
        assert page.locator("#mattered").evaluate("button => getComputedStyle(button).pointerEvents") == "none"
        page.click("#stop")
        wait_for_stop(server.session.device("mini"), engine)
        page.wait_for_function("() => document.querySelector('#status').innerText === 'Stopped.'")
        page.wait_for_selector("#run:not([disabled])")


@pytest.mark.parametrize(("width", "height", "theme"), [(1440, 900, "light"), (390, 844, "dark")])
def test_a_visitor_sees_what_mattered_saves_the_report_and_copies(
    browser: Any, mini_server: Server, width: int, height: int, theme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.add_init_script(f"({SHIFTS})()")
    open_page(page, mini_server, f"?__theme={theme}")
    page.wait_for_selector("#report:not([disabled])")  # of the first example, answered unasked
    page.evaluate("window.shifted = 0")  # how the page is opened is tested elsewhere
    answer, before = page.input_value("#answer-baseline textarea"), page.inner_text("#exact")
    with page.expect_download() as download:
        page.click("#report")
    assert download.value.suggested_filename == "vscan-compare.html"
    report = Path(download.value.path()).read_text()
    assert answer in report and page.input_value("#asked-question textarea") in report

    page.click("#mattered")
    page.wait_for_function(ENDED)
    page.wait_for_function(f"() => ({VIEW})() === 'What mattered'")
    page.wait_for_timeout(500)
    score = page.evaluate(SCORE)
    best = score["ranks"].index(1)
    move_to(page, best)
    assert "less likely" in page.evaluate(TOLD) and answer in score["about"]
    assert score["values"][best] > 5 * abs(statistics.median(score["values"]))  # the answer is in one place
    assert page.evaluate("window.shifted") < 0.1
    assert page.inner_text("#exact") == before and page.input_value("#answer-baseline textarea") == answer
    page.locator("#retention input[type=range]").press("PageUp")
    page.wait_for_function("() => document.querySelector('#token-note').innerText.includes('Preview')")
    assert page.evaluate(VIEW) == "What mattered" and page.evaluate(SCORE)["values"] == score["values"]

    page.click("#copy-command")
    page.wait_for_function("() => document.querySelector('#code textarea')?.value.startsWith('vscan compare')")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
