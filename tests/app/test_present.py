"""The presentation and the hints for a first visit, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from app.session.examples import Example
from tests.app.conftest import PATIENCE, Server, answer_unasked, serving, visiting
from tests.app.fake import FakeEngine

TIMES = "\N{MULTIPLICATION SIGN}"
TOLD = "() => document.querySelectorAll('.story-nav li').length === 6"
HINT = "A picture like none that it was trained on: treat the answer as a guess. The selection of tokens is real."
STEP = "name => document.querySelector('.story').dataset.name === name"
ANSWERED = "() => document.querySelectorAll('.story-costs td').length === 6"
SMALLEST = """() => Math.min(...[...document.querySelectorAll('.story-screen *')].filter(
    each => each.getClientRects().length && [...each.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
    .map(each => parseFloat(getComputedStyle(each).fontSize)))"""
CORNERS = """() => ['#tour', '#run'].map(name => {
    const box = document.querySelector(name).getBoundingClientRect();
    return [box.left, box.top, box.right, box.bottom] })"""
OUTSIDE = """() => { const screen = document.querySelector('.story-screen');
    return [screen.scrollHeight - innerHeight, screen.scrollWidth - innerWidth] }"""


@pytest.fixture(scope="module")
def server(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    Image.radial_gradient("L").convert("RGB").resize((200, 150)).save(path)
    with serving(FakeEngine(unasked=True, hint=HINT), [Example(str(path), "What is there?")]) as server:
        answer_unasked(browser, server)
        yield server


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh visitor with calm animations; every error on the page fails the test."""
    with visiting(browser, 1280, 720, reduced_motion="reduce") as page:
        yield page


def has_opened(page: Any) -> None:
    """Waits until the presentation is told and shown: the first comes before the second."""
    page.wait_for_function(TOLD)
    page.wait_for_function("() => document.querySelector('.story-deck')?.open")


def test_everything_is_legible_and_on_the_screen(page: Any, server: Server) -> None:
    page.goto(f"{server.url}?present=1&__theme=dark")
    has_opened(page)
    for number in range(6):
        if number:
            page.keyboard.press("ArrowRight")
        for size in ((1280, 720), (1920, 1080)):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            assert page.evaluate(SMALLEST) >= 20, (number, size)
            assert max(page.evaluate(OUTSIDE)) <= 0, (number, size)
    assert page.evaluate(STEP, "answers")


def test_keys_of_clickers_lead_through_it_and_escape_leaves(page: Any, server: Server) -> None:
    page.goto(server.url)
    assert page.locator("#tour").count() == 0  # a driven browser is left alone, unless the address asks
    page.click("#present")  # from any page
    has_opened(page)
    assert "present=1" in page.url
    for key, name in (("PageDown", "patches"), (" ", "global"), ("ArrowRight", "local"), ("PageUp", "global"),
                      ("ArrowLeft", "patches"), ("End", "answers"), ("Home", "picture")):  # fmt: skip
        page.keyboard.press(key)
        assert page.evaluate(STEP, name), key
    page.keyboard.press("f")
    page.wait_for_function("() => document.fullscreenElement?.classList.contains('story-screen')")
    page.keyboard.press("f")
    page.wait_for_function("() => !document.fullscreenElement")
    assert page.evaluate("() => document.querySelector('.story-deck').open")
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.querySelector('.story-deck').open")
    assert "present" not in page.url and page.is_visible(".story-nav")  # the steps are back on their page


def test_costs_are_products_of_what_was_measured(page: Any, server: Server) -> None:
    page.goto(server.url + "?present=1")
    has_opened(page)
    page.keyboard.press("End")
    page.wait_for_function(ANSWERED)
    cells = page.locator(".story-costs td")
    assert "CPU time" in page.inner_text(".story-costs") and "medians of 7 pairs" in page.inner_text(".story-note")
    mean = (96 * 3 + 32 * 3) / 6  # of the fake engine's answers: 21.5 ms of vision, a quarter of a ms per token
    times = [21.5 + 576 / 4, 21.5 + 1.3 + mean / 4]
    assert cells.nth(0).inner_text() == f"{times[0]:.0f} s" and cells.nth(1).inner_text() == f"{times[1]:.1f} s"
    assert cells.nth(2).inner_text() == f"\N{MINUS SIGN}{100 * (1 - times[1] / times[0]):.0f} %"
    assert cells.nth(4).inner_text() == f"{1000 * mean * 6144 / 1e6:.0f} MB"
    page.fill(".story-many input", "10000")
    assert cells.nth(1).inner_text() == f"{times[1] * 10 / 60:.1f} min"
    factors = f"10,000 {TIMES} (vision encoder 21.5 + selection 1.3 + prefill {mean / 4:.1f}) ms"
    assert factors in page.inner_text(".story-formula")
    page.keyboard.press("ArrowLeft")  # in the field, arrows are the field's
    assert page.evaluate(STEP, "answers")


def hint(page: Any) -> str:
    return str(page.inner_text("#tour p"))


def test_hints_never_cover_run_and_are_remembered(page: Any, server: Server) -> None:
    page.goto(server.url + "?tour=1")
    page.wait_for_selector("#tour")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.closest('#tour') !== null")
    seen = set()
    while page.locator("#tour").count():
        seen.add(hint(page))
        for width, height in ((390, 844), (1280, 720)):
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("() => new Promise(requestAnimationFrame)")  # after it, the page has seen the new size
            (l0, t0, r0, b0), (l1, t1, r1, b1) = page.evaluate(CORNERS)
            assert r0 <= l1 or r1 <= l0 or b0 <= t1 or b1 <= t0, (hint(page), width)
            assert l0 >= 0 and t0 >= 0 and r0 <= width and b0 <= height
        page.locator("#tour .tour-next").press("Enter")
    assert len(seen) == 4
    assert page.evaluate("() => localStorage.getItem('vscan-tour')") == "seen"


def test_a_first_visitor_sees_the_hints_once(browser: Any, server: Server) -> None:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    context.add_init_script("Object.defineProperty(navigator, 'webdriver', {get: () => false})")
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_selector("#tour")
    page.keyboard.press("Escape")
    assert page.locator("#tour").count() == 0
    page.reload()
    page.wait_for_selector("#run")
    page.wait_for_timeout(700)
    assert page.locator("#tour").count() == 0
    context.close()
