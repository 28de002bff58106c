"""Every answer has the security headers, and the demo's own page works behind the door."""

from __future__ import annotations

from typing import Any

from app.server.answers import HEADERS
from tests.app.conftest import visiting
from tests.app.server.served import Door


def test_every_answer_has_the_security_headers(door: Door) -> None:
    answers = [door.get("/"), door.get("/healthz"), door.get("/gradio_api/file=http://x.org"), door.post("/a", json={}),
               door.get("/gradio_api/call/overlay/none"), door.get("/static/none")]  # fmt: skip
    for answer in answers:
        assert all(answer.headers[name] == value for name, value in HEADERS.items()), answer.url


def test_the_door_is_alive(door: Door) -> None:
    assert door.get("/healthz").json() == {"status": "ok"}


def test_the_page_asks_for_nothing_that_is_closed(browser: Any, door: Door, picture_file: str) -> None:
    door.refused.clear()
    with visiting(browser) as page:
        page.goto(door.url)
        page.set_input_files("#picture input[type=file]", picture_file)
        page.wait_for_function("() => document.querySelector('#budget')?.innerText.includes('of 576')")  # uploaded
        page.fill("#question textarea, #question input", "What is there?")
        page.click("#run")
        page.wait_for_function("() => document.querySelector('#status')?.innerText.includes('took')")
        with page.expect_download() as download:
            page.click("#report:not([disabled])")
        assert download.value.path()
    assert door.refused == [] and door.failed == []
