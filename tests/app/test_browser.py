"""The page in a real browser: what a visitor does and sees."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.benchmarks.page import BenchmarksPage
from app.session.examples import Example
from app.session.session import Session
from tests.app import recorded
from tests.app.conftest import PATIENCE, Server, serving, visiting
from tests.app.fake import FakeEngine

OVERLAY = "#overlay canvas"
QUESTION = "#question textarea, #question input"


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh visitor; every error on the page fails the test."""
    with visiting(browser) as page:
        yield page


def open_page(page: Any, server: Server, query: str = "") -> None:
    page.goto(server.url + query)
    page.wait_for_selector(OVERLAY, state="attached")


def upload(page: Any, path: str) -> None:
    page.click("#picture button[aria-label='Remove Image']")
    page.set_input_files("#picture input[type=file]", path)


def test_a_visitor_uploads_asks_and_moves_the_slider(page: Any, mini_server: Server, picture_file: str) -> None:
    open_page(page, mini_server)
    page.wait_for_function("() => document.querySelector('#answer-vscan textarea')?.value")  # answered unasked
    assert "96 of 576" in page.inner_text("#budget") and "576 → 96 → 32" in page.inner_text("#exact")
    assert "when the page was first opened" in page.inner_text("#status")

    upload(page, picture_file)
    page.wait_for_function("() => document.querySelector('#changed')?.innerText.includes('the picture')")
    page.locator("#retention input[type=range]").press("PageUp")
    page.wait_for_function("() => document.querySelector('#changed')?.innerText.includes('the share of tokens')")
    assert "96 of 576" not in page.inner_text("#budget") and "by formula" in page.inner_text("#exact")
    assert page.evaluate("getComputedStyle(document.querySelector('#panes')).opacity") < "0.5"

    page.fill(QUESTION, "What is there?")
    page.click("#run")
    page.wait_for_function("() => document.querySelector('#status')?.innerText.includes('took')")
    assert (
        page.inner_text("#changed").strip() == "" and page.input_value("#asked-question textarea") == "What is there?"
    )
    assert page.locator("#time-axis .lanes li").count() == 2
    for name in ("baseline", "vscan"):
        assert page.input_value(f"#answer-{name} textarea").strip()
        assert "to the first token" in page.inner_text(f"#live-{name}")
    assert "less KV cache" in page.inner_text("#exact") and "counted in the run" in page.inner_text("#exact")
    assert "pairs" in page.inner_text("#measured") or "busy" in page.inner_text("#measured")


SHIFTS = """() => { window.shifted = 0; new PerformanceObserver(list => list.getEntries().forEach(
    entry => { if (!entry.hadRecentInput) window.shifted += entry.value; })
    ).observe({type: "layout-shift", buffered: true}); }"""


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1440, 900), (390, 844)])
def test_nothing_jumps_and_what_matters_is_above_the_fold(
    browser: Any, mini_server: Server, width: int, height: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.add_init_script(f"({SHIFTS})()")
    open_page(page, mini_server)
    page.wait_for_function("() => document.querySelector('#answer-vscan textarea')?.value")
    page.wait_for_timeout(500)
    if width > 700:
        for part in ("#overlay canvas", "#exact", "#measured", "#panes", "#time-axis"):
            box = page.locator(part).first.bounding_box()
            assert box["y"] + box["height"] <= height, part
    page.click("#run")
    page.wait_for_function("() => document.querySelector('#status')?.innerText.includes('took')")
    assert page.evaluate("window.shifted") < 0.1
    if width < 700:
        page.wait_for_function("() => document.querySelector('#answers').getBoundingClientRect().top < 200")
    context.close()


def test_both_answers_can_be_replayed_on_one_clock(page: Any, slow_server: Server) -> None:
    engine: Any = slow_server.session.engine
    engine.answer_words, engine.pause_s = ("word",) * 12, 0.0
    open_page(page, slow_server)
    page.click("#run")
    page.wait_for_selector("#race")
    whole = page.input_value("#answer-baseline textarea")
    page.click("#race")
    page.wait_for_function("() => document.querySelector('#live-vscan')?.innerText.includes('at the measured speed')")
    page.wait_for_function("text => document.querySelector('#answer-vscan textarea')?.value === text", arg=whole)
    page.wait_for_function("() => document.querySelector('#live-vscan')?.innerText.includes('to the first token')")
    assert page.input_value("#answer-baseline textarea") == whole


def test_the_clock_of_a_pane_ticks_and_another_method_gives_its_name(page: Any, slow_server: Server) -> None:
    open_page(page, slow_server)
    page.click("#method input")
    page.get_by_role("option", name="Coarse", exact=True).click()
    page.wait_for_function("() => document.querySelector('#token-note')?.innerText.includes('Preview')")
    page.click("#run")
    page.wait_for_function("() => parseFloat(document.querySelector('#live-baseline [data-clock]')?.innerText) > 0.3")
    page.wait_for_function("() => document.querySelector('#live-baseline')?.innerText.includes('tokens/s')")
    assert "Coarse" in page.inner_text(".pane.vscan")
    page.click("#stop")
    page.wait_for_selector("#run:not([disabled])")


def wait_for_stop(device: Any, engine: Any) -> None:
    """At most a second after the click."""
    pressed = time.monotonic()
    while device.busy and time.monotonic() - pressed < 10:
        time.sleep(0.01)
    assert time.monotonic() - pressed < 1 and engine.alive == 0


def test_stop_really_stops(page: Any, slow_server: Server) -> None:
    engine: Any = slow_server.session.engine
    device = slow_server.session.device("mini")
    open_page(page, slow_server)
    page.click("#run")
    page.wait_for_function("() => document.querySelector('#answer-baseline textarea')?.value.length > 20")
    assert engine.alive == 1 and device.busy
    page.click("#stop")
    wait_for_stop(device, engine)
    steps = engine.steps
    page.wait_for_function("() => document.querySelector('#status')?.innerText.includes('Stopped')")
    page.wait_for_selector("#run:not([disabled])")
    assert engine.steps == steps

    engine.answer_words, engine.pause_s = ("again",), 0.0  # the page lives on
    page.click("#run")
    page.wait_for_function("() => document.querySelector('#answer-vscan textarea')?.value.includes('again')")
    page.wait_for_selector("#time-axis .lanes li")


def test_leaving_the_page_stops_too(browser: Any, slow_server: Server) -> None:
    engine: Any = slow_server.session.engine
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    open_page(page, slow_server)
    page.click("#run")
    page.wait_for_function("() => document.querySelector('#answer-baseline textarea')?.value.length > 5")
    context.close()
    left = time.monotonic()
    while slow_server.session.device("mini").busy and time.monotonic() - left < 15:
        time.sleep(0.05)
    assert engine.alive == 0 and time.monotonic() - left < 10


def test_a_bad_file_is_told_on_the_page(page: Any, mini_server: Server, tmp_path: Path) -> None:
    bad = tmp_path / "broken.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    open_page(page, mini_server)
    upload(page, str(bad))
    page.wait_for_function("() => document.querySelector('#status')?.innerText.includes('damaged')")


SHOWN = """() => [...document.querySelectorAll('#arena-table [role=row]')].map(
    row => [...row.querySelectorAll('[role=gridcell]')].map(cell => cell.innerText.trim())).filter(row => row.length)"""


def open_arena(page: Any, server: Server) -> None:
    open_page(page, server)
    page.get_by_role("tab", name="Arena").click()
    page.wait_for_function("() => document.querySelector('#arena-budget')?.innerText.includes('of 576')")


def test_methods_meet_in_the_arena(page: Any, slow_server: Server) -> None:
    engine: Any = slow_server.session.engine
    engine.answer_words, engine.pause_s = ("a", "red", "ball"), 0.01
    open_arena(page, slow_server)
    methods = page.locator("#arena-methods")
    methods.get_by_label("Coarse").check()
    methods.get_by_label("Absent").check()
    page.click("#arena-run")
    page.wait_for_selector("#arena-png:not([disabled])")
    assert not page.is_visible("#arena-saved-file")
    rows = {row[0]: row for row in page.evaluate(SHOWN)}
    assert list(rows)[:2] == ["Baseline", "VScan"] and {"Coarse", "Absent"} <= set(rows)
    assert rows["Coarse"][1].startswith("a red ball") and rows["Coarse"][3] == "96 → 32"
    assert rows["Absent"][1] == "Cannot run here: This model has no text tower."
    assert page.locator("#arena-gallery img").count() == 2 and "Coarse · 96 → 32" in page.inner_text("#arena-gallery")

    page.locator("#arena-table th").filter(has_text="Prefill").first.locator(".cell-menu-button").click()
    page.get_by_role("menuitem", name="Sort descending").click()
    page.wait_for_timeout(500)
    order = [row[0] for row in page.evaluate(SHOWN) if row[5].endswith("ms")]
    assert order[0] == "Baseline"  # 144 ms is more than 16.0 ms, though "1" is less than "9"

    for kind, starts in (("json", b"{"), ("png", b"\x89PNG")):
        with page.expect_download() as download:
            page.click(f"#arena-{kind}")
        assert download.value.suggested_filename == f"vscan-arena.{kind}"
        assert Path(download.value.path()).read_bytes().startswith(starts)


def test_stop_really_stops_the_arena(page: Any, slow_server: Server) -> None:
    engine: Any = slow_server.session.engine
    device = slow_server.session.device("mini")
    open_arena(page, slow_server)
    page.click("#arena-run")
    page.wait_for_function("() => document.querySelector('#arena-table')?.innerText.includes('word word')")
    assert engine.alive == 1 and device.busy
    page.click("#arena-stop")
    wait_for_stop(device, engine)
    page.wait_for_function("() => document.querySelector('#arena-status')?.innerText.includes('Stopped')")
    page.wait_for_selector("#arena-run:not([disabled])")


def test_a_model_that_does_not_fit_is_grey_and_says_why(page: Any, slow_server: Server) -> None:
    open_page(page, slow_server)
    page.click("#model input")
    options = page.locator("li[data-testid=dropdown-option]")
    looks = options.evaluate_all("all => all.map(e => [e.ariaLabel, Number(getComputedStyle(e).opacity)])")
    assert [(label.endswith("not here"), opacity) for label, opacity in looks] == [(False, 1), (True, 0.5)]
    options.nth(1).click()
    page.wait_for_function("() => document.querySelector('#about-model')?.innerText.includes('needs about 16.2 GB')")
    page.click("#run")
    page.wait_for_function("() => document.querySelector('#status')?.innerText.includes('needs about 16.2 GB')")


def test_one_method_sweeps_through_the_retentions(page: Any, mini_server: Server) -> None:
    open_page(page, mini_server)
    page.get_by_role("tab", name="Sweep").click()
    page.wait_for_function("() => document.querySelector('#sweep-budget')?.innerText.includes('96 → 32')")
    page.locator("#sweep-retentions").get_by_label("100 %").uncheck()
    page.click("#sweep-run")
    page.wait_for_selector("#sweep-csv:not([disabled])")
    rows = page.evaluate(SHOWN.replace("arena", "sweep"))
    assert rows[0][0].startswith("Baseline")  # "kept from an earlier run", if there was one
    assert [row[0] for row in rows[1:]] == ["50 %", "33.3 %", "22.2 %", "11.1 %", "5.6 %", "2.8 %"]
    assert [row[3] for row in rows][:5] == ["576", "432 → 144", "288 → 96", "192 → 64", "96 → 32"]
    assert all(row[1] and row[5].endswith("s") for row in rows)  # seconds on a busy machine
    assert page.locator("#sweep-gallery img").count() == 6 and "2.8 % · 24 → 8" in page.inner_text("#sweep-gallery")
    page.wait_for_selector("#sweep-chart .js-plotly-plot .bars path", state="attached")
    for kind, starts in (("json", b"{"), ("csv", b"retention,"), ("png", b"\x89PNG")):
        with page.expect_download() as download:
            page.click(f"#sweep-{kind}")
        assert download.value.suggested_filename == f"vscan-sweep.{kind}"
        assert Path(download.value.path()).read_bytes().startswith(starts)


def test_stop_really_stops_a_sweep(page: Any, slow_server: Server) -> None:
    engine: Any = slow_server.session.engine
    device = slow_server.session.device("mini")
    open_page(page, slow_server)
    page.get_by_role("tab", name="Sweep").click()
    page.click("#sweep-run")
    page.wait_for_function("() => document.querySelector('#sweep-table')?.innerText.includes('word word')")
    page.click("#sweep-stop")
    wait_for_stop(device, engine)
    page.wait_for_function("() => document.querySelector('#sweep-status')?.innerText.includes('Stopped')")
    page.wait_for_selector("#sweep-run:not([disabled])")


def test_benchmarks_show_what_is_recorded_and_what_papers_report(page: Any, mini_server: Server) -> None:
    open_page(page, mini_server)
    page.get_by_role("tab", name="Benchmarks").click()
    page.wait_for_selector("#accuracy-chart .scatterlayer .trace, #no-accuracy", state="attached")

    page.get_by_role("tab", name="Speed", exact=True).click()
    page.wait_for_selector("#speed-chart .scatterlayer .trace", state="attached")
    assert "benchmarks.prefill" in page.inner_text("#speed-source")

    page.get_by_role("tab", name="Papers", exact=True).click()
    page.wait_for_selector("#reported-chart .scatterlayer .trace", state="attached")
    assert "not measured by this project" in page.inner_text("#reported-warning")
    assert page.locator("#reported-source a").first.get_attribute("href") == "https://arxiv.org/abs/2505.22654"
    rows = page.evaluate(SHOWN.replace("arena", "reported"))
    assert ["192 of 576", "VScan", "partial", "60.6", "63.9"] in [row[:5] for row in rows]
    for menu, option in (("model", "Video-LLaVA-7B"), ("model", "Qwen2.5-VL-7B"), ("title", "Documents")):
        page.click(f"#reported-{menu} input")
        page.get_by_role("option", name=option, exact=True).click()
        page.wait_for_timeout(1000)
    assert ["33.3 %", "VScan", "partial", "94.0", "79.7"] in page.evaluate(SHOWN.replace("arena", "reported"))
    assert page.is_visible("#reported-chart .scatterlayer .trace")


def test_recorded_accuracy_is_drawn_by_type_of_question(
    browser: Any, picture_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = recorded.write(tmp_path)

    class Recorded(BenchmarksPage):
        def __init__(self, session: Session, examples: list[Example]) -> None:
            super().__init__(session, examples, folder)

    monkeypatch.setattr("app.benchmarks.page.BenchmarksPage", Recorded)

    with serving(FakeEngine(), [Example(picture_file, "What is there?")]) as server, visiting(browser) as page:
        open_page(page, server)
        page.get_by_role("tab", name="Benchmarks").click()
        page.wait_for_selector("#accuracy-chart .scatterlayer .trace", state="attached")
        assert "feedface" in page.inner_text("#accuracy-source")
        first = page.evaluate(SHOWN.replace("arena", "accuracy"))[0]
        assert first[:2] == ["VScan", "90.0 (87.0 to 93.0)"]
        page.click("#accuracy-kind input")
        page.get_by_role("option", name="colour", exact=True).click()
        page.wait_for_function("() => document.querySelector('#accuracy-table')?.innerText.includes('93.0 (88.0')")
        assert "commonest answer 42.0" in page.inner_text("#accuracy-notes")
        page.get_by_role("tab", name="Ablations", exact=True).click()
        page.wait_for_selector("#ablations-chart .scatterlayer .trace", state="attached")
        assert "layer of the second cut" in page.inner_text("#ablations-table")


def test_a_link_leads_to_a_tab(page: Any, mini_server: Server) -> None:
    page.goto(mini_server.url + "?tab=sweep")
    page.wait_for_function("() => document.querySelector('#sweep-budget')?.innerText.includes('96 → 32')")
    page.get_by_role("tab", name="Benchmarks").click()
    page.wait_for_url("**tab=benchmarks**")
    open_page(page, mini_server, "?tab=<script>")
    assert page.get_by_role("tab", name="Compare").get_attribute("aria-selected") == "true"


NO_WIDER = """id => { const place = document.querySelector(id);
    return place.querySelector('table').offsetWidth <= place.clientWidth; }"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(browser: Any, mini_server: Server, theme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    open_page(page, mini_server, f"?__theme={theme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.wait_for_function("() => document.querySelector('#answer-vscan textarea')?.value")
    page.get_by_role("button", name="All numbers of both runs").click()
    for name in ("baseline", "vscan"):
        page.wait_for_function("id => document.querySelector(id + ' tr:nth-child(5)')", arg=f"#numbers-{name}")
        assert page.evaluate(NO_WIDER, f"#numbers-{name}"), "the tables lie over each other"
    # by their links: tabs for which there is no room at this width are in a menu
    page.goto(mini_server.url + f"?tab=arena&__theme={theme}")
    page.wait_for_selector("#arena-gallery img")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.goto(mini_server.url + f"?tab=sweep&__theme={theme}")
    page.click("#sweep-run")
    page.wait_for_selector("#sweep-png:not([disabled])")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.goto(mini_server.url + f"?tab=benchmarks&__theme={theme}")
    for tab, shown in (("Accuracy", "#benchmarks"), ("Speed", "#speed-chart"), ("Papers", "#reported-chart")):
        page.get_by_role("tab", name=tab, exact=True).click()
        page.wait_for_selector(shown)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


NAMELESS = """() => [...document.querySelectorAll('button, input, textarea')].filter(e => e.offsetParent !== null
    && !(e.innerText || e.ariaLabel || e.title || e.placeholder || e.labels?.length || e.querySelector('img[alt]'))
    ).map(e => e.outerHTML.slice(0, 120))"""


def test_it_can_be_used_by_keyboard_and_read_aloud(page: Any, slow_server: Server) -> None:
    engine: Any = slow_server.session.engine
    engine.answer_words, engine.pause_s = ("typed",), 0.0
    open_page(page, slow_server)
    page.locator(QUESTION).first.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#answer-vscan textarea')?.value.includes('typed')")
    assert page.evaluate(NAMELESS) == []
    for tabs in (["Sweep"], ["Benchmarks", "Speed"], ["Benchmarks", "Papers"]):
        for tab in tabs:
            page.get_by_role("tab", name=tab, exact=True).focus()
            page.keyboard.press("Enter")
        page.wait_for_timeout(1000)
        assert page.evaluate(NAMELESS) == []
