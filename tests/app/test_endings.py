"""Every ending of a run, in a real browser: the status says what happened, and the buttons are ready for the next."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from app.session.examples import Example
from tests.app.conftest import Server, serving
from tests.app.fake import FakeEngine

TOLD = """() => { window.told = []; new MutationObserver(() => window.told.push(
    document.querySelector('#PLACEstatus').innerText)).observe(document.querySelector('#PLACEstatus'),
    { childList: true, subtree: true, characterData: true }); }"""
IDLE = "() => !document.querySelector('#PLACErun').disabled && document.querySelector('#PLACEstop').disabled"
WRITING = "() => document.querySelector('#answer-baseline textarea')?.value.includes('word')"


class TwoModels(FakeEngine):
    """Two models that fit."""

    def models(self) -> dict[str, Any]:
        return {**super().models(), "other": SimpleNamespace(name="other", title="Other Model", description="Second.")}


@pytest.fixture(scope="module")
def server(picture_file: str) -> Iterator[Server]:
    with serving(TwoModels(), [Example(picture_file, "What is there?")], ["compare", "sweep"]) as server:
        yield server


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    engine: Any = server.session.engine
    engine.pause_s, engine.answer_words, engine.fails_with = 0.05, ("word",) * 200, None
    server.session.forget()  # no baseline of another test
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_function("() => document.querySelector('#budget')?.innerText.includes('of 576')")
    yield page
    context.close()
    left = time.monotonic()
    while server.session.device("mini").busy and time.monotonic() - left < 10:
        time.sleep(0.02)


def status(page: Any, place: str = "") -> str:
    return str(page.inner_text(f"#{place}status"))


def idle(page: Any, place: str = "") -> None:
    page.wait_for_function(IDLE.replace("PLACE", place))


def test_stopped_is_said_when_the_work_has_stopped(page: Any, server: Server) -> None:
    engine: Any = server.session.engine
    engine.pause_s = 1.5  # a slow model: one step outlasts the click by far
    page.click("#run")
    page.wait_for_function("() => document.querySelector('#status')?.innerText.includes('Writing')")
    page.evaluate(TOLD.replace("PLACE", ""))
    page.click("#stop")
    idle(page)
    assert engine.alive == 0 and not server.session.device("mini").busy
    assert status(page) == "Stopped." and page.evaluate("window.told.includes('Stopping …')")


def test_stop_then_another_model_then_run(page: Any, server: Server) -> None:
    engine: Any = server.session.engine
    engine.pause_s = 1.0  # the first run is still in a step when the second is asked for
    page.click("#run")
    page.wait_for_timeout(150)
    page.click("#stop")
    page.click("#model input")
    page.locator("li[data-testid=dropdown-option]", has_text="Other Model").click()
    engine.answer_words = ("done",)
    page.click("#run")  # waits until it may be clicked
    page.wait_for_function("() => document.querySelector('#status')?.innerText.includes('took')")
    idle(page)


def test_enter_during_a_run_changes_nothing(page: Any, server: Server) -> None:
    page.click("#run")
    page.wait_for_function(WRITING)
    page.locator("#question textarea, #question input").first.press("Enter")
    page.wait_for_timeout(200)
    assert "Waiting" not in status(page) and page.is_enabled("#stop")
    page.click("#stop")
    idle(page)
    assert status(page) == "Stopped."


def test_another_picture_stops_a_run(page: Any, server: Server) -> None:
    engine: Any = server.session.engine
    page.click("#run")
    page.wait_for_function(WRITING)
    page.click("#picture button[aria-label='Remove Image']")
    idle(page)
    assert engine.alive == 0 and not status(page).endswith("…")


def test_a_full_queue_says_so(page: Any, server: Server) -> None:
    def full(route: Any) -> None:
        route.fulfill(status=503, content_type="application/json", body='{"detail": "Queue is full."}')

    page.route(re.compile(r"queue/join"), full)
    page.click("#run")
    page.wait_for_function("() => document.querySelector('#status')?.innerText.includes('press Run again')")
    idle(page)


def test_a_failure_of_the_server_is_told(page: Any, server: Server) -> None:
    engine: Any = server.session.engine
    engine.fails_with = RuntimeError("secret")
    page.click("#run")
    page.wait_for_function("() => document.querySelector('#status')?.innerText.includes('(code ')")
    idle(page)


def test_a_lost_connection_is_told_while_it_lasts(page: Any, server: Server) -> None:
    page.click("#run")
    page.wait_for_function(WRITING)
    page.context.set_offline(True)
    page.wait_for_function("() => document.querySelector('#clock')?.innerText.includes('connection')")
    page.context.set_offline(False)


def test_a_sweep_ends_as_well(page: Any, server: Server) -> None:
    engine: Any = server.session.engine
    page.get_by_role("tab", name="Sweep").click()
    engine.pause_s = 0.8
    page.click("#sweep-run")
    page.wait_for_function("() => !document.querySelector('#sweep-stop').disabled")
    page.wait_for_timeout(300)
    page.evaluate(TOLD.replace("PLACE", "sweep-"))
    page.click("#sweep-stop")
    idle(page, "sweep-")
    assert status(page, "sweep-") == "Stopped." and engine.alive == 0
    assert page.evaluate("window.told.includes('Stopping …')")
    page.route(re.compile(r"queue/join"), lambda route: route.fulfill(status=503, body="{}"))
    page.click("#sweep-run")
    page.wait_for_function("() => document.querySelector('#sweep-status')?.innerText.includes('press Run again')")
    idle(page, "sweep-")
