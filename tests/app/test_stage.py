"""The stage in a real browser: what it shows equals the trace, and what a visitor can do to it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from app.compare.page import ComparePage
from app.stage.widget import Marks, marks_of
from tests.app.conftest import Server
from tests.app.hall import SHOWN, STATE, TOLD, Hall, drawn, legend, move_to, show, undecided
from tests.app.test_browser import open_page
from tests.app.test_browser import page as page  # a fixture
from vscan_core.draw.fates import Fate, fates


def test_the_map_shows_what_the_trace_says(hall: Hall) -> None:
    trace = hall.views["run"].trace
    page = show(hall, "run")
    assert page.evaluate(STATE)["depth"] == 2
    for depth in (2, 1, 0):
        page.locator(".stage-depth input").fill(str(depth))
        state, found = page.evaluate(STATE), fates(trace, depth)
        assert state["codes"] == found.codes.tolist() and state["kept"] == found.kept
        assert state["counts"][:6] == [found.count(fate) for fate in Fate] and state["counts"][6] == 0
    stops = page.locator(".stage-stops b").all_inner_texts()
    assert stops == ["576", *(str(len(cut.kept)) for cut in trace.cuts)]
    assert "576 of 576 visual tokens" in page.get_attribute(".stage-view img", "alt")


def test_the_legend_counts_and_switches_layers(hall: Hall) -> None:
    page = show(hall, "run")
    found = fates(hall.views["run"].trace)
    assert legend(page) == {
        "Global stands out in the whole picture": found.count(Fate.GLOBAL),
        "Local stands out in its neighbourhood": found.count(Fate.LOCAL),
        "Merged into a kept token": found.count(Fate.MERGED),
        "Dropped at layer 3": found.pruned_at[3],
    }
    assert page.locator(".stage-legend li").last.inner_text() == "Not seen by the model"  # left and right are cropped
    pixels = "() => { const c = document.querySelector('.stage-layer'); return c.toDataURL() }"
    looks = {page.evaluate(pixels)}
    for name in ("Global", "Merged", "Dropped at layer 3"):
        page.locator(".stage-legend button").filter(has_text=name).click()
        looks.add(page.evaluate(pixels))
    assert len(looks) == 4 and page.locator(".stage-legend button[aria-pressed=false]").count() == 3
    for name in ("Whole picture", "Neighbourhood", "Question"):
        page.get_by_role("radio", name=name).click()
        looks.add(page.evaluate(pixels))
    assert len(looks) == 7 and page.locator(".stage-scale").is_visible()


def test_a_token_tells_what_became_of_it(hall: Hall) -> None:
    trace = hall.views["run"].trace
    page = show(hall, "run")
    first, last = trace.cuts
    gone = int((first.merged_into >= 0).nonzero()[0])
    move_to(page, gone)
    target = divmod(int(first.merged_into[gone]), 24)
    rank = int((first.scores["global"] > first.scores["global"][gone]).sum()) + 1
    told = page.evaluate(TOLD)
    assert f"averaged into row {target[0] + 1}, column {target[1] + 1}" in told
    assert f"Whole picture rank {rank} of 576" in told
    kept = int(last.kept[(first.merged_into[:, None] == last.kept).any(0).nonzero()[0, 0]])
    absorbed = int((first.merged_into == kept).sum())
    move_to(page, kept)
    assert f"Stands for {absorbed + 1} tokens" in page.evaluate(TOLD)
    pruned = next(token for token in first.kept.tolist() if token not in last.kept.tolist())
    move_to(page, pruned)
    assert "dropped at layer 3: attended to least by the last prompt token" in page.evaluate(TOLD)

    page.mouse.down()
    page.mouse.up()
    move_to(page, kept)
    assert page.evaluate(STATE)["token"] == pruned and page.evaluate(STATE)["pinned"]
    page.keyboard.press("Escape")
    assert page.evaluate(STATE)["token"] == -1 and not page.evaluate(STATE)["pinned"]


def test_it_is_used_by_keyboard(hall: Hall) -> None:
    page = show(hall, "run")
    page.locator(".stage-view").focus()
    page.keyboard.press("ArrowRight")
    start = page.evaluate(STATE)["token"]
    assert start in hall.views["run"].trace.kept.tolist()
    for key, step in (("ArrowDown", 24), ("ArrowRight", 1), ("ArrowUp", -24), ("ArrowLeft", -1)):
        page.keyboard.press(key)
        assert page.evaluate(STATE)["token"] == (start := start + step)
    page.keyboard.press("Enter")
    assert page.evaluate(STATE)["pinned"] and page.evaluate(TOLD).endswith("(pinned)")
    divider = page.locator(".stage-divider")
    divider.focus()
    for key, value in (("ArrowRight", "5"), ("PageUp", "30"), ("End", "100"), ("Home", "0")):
        page.keyboard.press(key)
        assert divider.get_attribute("aria-valuenow") == value
    page.get_by_role("radio", name="Tokens").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(STATE)["view"] != "tokens"


def test_a_table_holds_the_same_facts(hall: Hall) -> None:
    page = show(hall, "run")
    assert page.locator(".stage-table td").count() == 0
    page.click(".stage-table summary")
    rows = page.locator(".stage-table tbody tr")
    page.wait_for_function("() => document.querySelectorAll('.stage-table tbody tr').length === 576")
    kept = [i for i, text in enumerate(rows.all_inner_texts()) if "kept by the" in text]
    assert kept == hall.views["run"].trace.kept.tolist()


def test_the_slider_redraws_the_first_cut_without_the_server(hall: Hall, picture_file: str) -> None:
    page = show(hall, "preview")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for percent in (100.0, 66.7, 50.0, 22.2, 5.0):
        page.locator("#slider input[type=number]").fill(str(percent))
        page.wait_for_function("at => document.querySelector('.stage').stage.slider === at", arg=percent)
        trace = hall.session.preview("mini", picture_file, percent / 100).trace
        state = page.evaluate(STATE)
        assert state["live"] and state["codes"] == undecided(fates(trace).codes)
    assert not asked  # all of it came from the browser
    gone = page.evaluate(STATE)["codes"].index(6)
    move_to(page, gone)
    assert "dropped, or merged" in page.evaluate(TOLD)


def test_two_methods_share_one_map(hall: Hall) -> None:
    page = show(hall, "both")
    trace, other = hall.views["both"].trace, hall.views["both"].other
    assert other is not None
    page.get_by_role("radio", name="VScan and Grid").click()
    ours, theirs = set(trace.kept.tolist()), set(other[1].kept.tolist())
    assert legend(page) == {
        "Both keep": len(ours & theirs),
        "Only VScan": len(ours - theirs),
        "Only Grid": len(theirs - ours),
        "Neither": 576 - len(ours | theirs),
    }


def test_marks_reach_the_server(hall: Hall) -> None:
    page = show(hall, "run")
    page.click(".stage-mark")
    move_to(page, 24 * 2 + 3)
    page.mouse.down()
    move_to(page, 24 * 4 + 6)
    page.mouse.up()
    page.click(".stage-drop")
    move_to(page, 0)
    page.mouse.down()
    page.mouse.up()
    inside = [24 * row + column for row in (2, 3, 4) for column in (3, 4, 5, 6)]
    assert page.evaluate(STATE)["marks"] == {"keep": inside, "drop": [0]}
    page.wait_for_function("want => document.querySelector('#marks textarea').value === want", arg=f"{inside}, [0]")
    page.click(".stage-clear")
    page.wait_for_function("() => document.querySelector('#marks textarea').value === '[], []'")


def test_what_a_browser_sends_as_marks_is_not_trusted() -> None:
    def sent(**data: Any) -> Marks:
        return marks_of(gr.EventData(None, data))

    assert sent(keep=[3, 1, 3], drop=[7]) == Marks((1, 3), (7,))
    assert sent(keep=[True, -1, 2.0, "4", None, [5], 6], drop="12") == Marks((6,), ())
    assert sent(keep=list(range(20_001))) == Marks() == sent()


def test_the_map_can_be_saved(hall: Hall) -> None:
    page = show(hall, "run")
    with page.expect_download() as download:
        page.click(".stage-json")
    saved = json.loads(Path(download.value.path()).read_text())
    trace = hall.views["run"].trace
    assert [cut["kept"] for cut in saved["cuts"]] == [cut.kept.tolist() for cut in trace.cuts]
    with page.expect_download() as download:
        page.click(".stage-png")
    with Image.open(download.value.path()) as picture:
        assert picture.format == "PNG" and max(picture.size) == 1008
    page.click("#show-nothing")
    page.wait_for_function("() => !document.querySelector('.stage').stage.state")


def test_the_cuts_are_played(hall: Hall) -> None:
    page = show(hall, "run")
    page.emulate_media(reduced_motion="reduce")
    page.evaluate(
        "() => { window.seen = []; const { stage } = document.querySelector('.stage'), { go } = stage; stage.pace = 50;"
        " stage.go = (depth) => { window.seen.push(depth); go.call(stage, depth) } }"
    )
    page.click(".stage-play")
    page.wait_for_function("() => window.seen.length === 3")
    page.wait_for_selector(".stage-play:not([aria-label=Pause])")
    assert page.evaluate("window.seen") == [0, 1, 2]


def test_tokens_are_put_back_and_the_question_is_asked_again(hall: Hall, picture_file: str) -> None:
    with gr.Blocks():
        page = ComparePage(hall.session, [])
    asked = ["mini", picture_file, None, "What is there?", 11.1, "vscan"]
    trace = hall.views["run"].trace
    keep, drop = trace.cuts[0].merged_into.ge(0).nonzero()[:9, 0].tolist(), trace.kept[:3].tolist()
    started, ended = page.put_back.on_again(Marks(tuple(keep), tuple(drop)), *asked)
    assert "again" in started[page.tokens.told]
    assert re.search(r"9 put back, 3 taken out: the answer (stays the same: |changes from )\S", ended[page.tokens.told])
    shown = drawn(ended[page.tokens.stage])
    left = {token for token, code in enumerate(shown["cuts"][-1]["fates"]) if int(code) <= Fate.KEPT}
    assert set(keep) <= left and not set(drop) & left and len(left) == len(trace.kept) and shown["ran"]
    for marks, sentence in (
        (Marks(), "mark tokens"),
        (Marks((600,)), "only the visual tokens 0 to 575"),
        (None, "mark"),
    ):
        assert sentence in list(page.put_back.on_again(marks, *asked))[-1][page.tokens.told]
    assert (
        "choose a picture" in list(page.put_back.on_again(Marks((1,)), "mini", None, *asked[2:]))[-1][page.tokens.told]
    )


def test_a_visitor_of_compare_drags_the_slider_and_puts_tokens_back(page: Any, mini_server: Server) -> None:
    open_page(page, mini_server)
    page.wait_for_function(f"() => ({SHOWN})()?.depth === 2")  # the first example's answers are there
    slider = page.locator("#retention input[type=range]")
    slider.press("PageUp")
    page.wait_for_function(f"() => {{ const s = ({SHOWN})(); return s.live || s.depth === 1 }}")
    page.wait_for_function(f"() => !({SHOWN})().live")  # the server's answer, which knows what was merged
    assert page.evaluate(STATE)["counts"][6] == 0 and page.evaluate(STATE)["kept"] > 96
    assert page.locator("#again").count() == 0
    page.click(".stage-mark")
    page.locator(".stage-view").click(position={"x": 200, "y": 200})
    page.click("#again")
    page.wait_for_function("() => document.querySelector('#again-told')?.innerText.startsWith('1 put back')")
    assert "forced" in page.inner_text("#token-note")
    assert sum(legend(page).values()) == 576
