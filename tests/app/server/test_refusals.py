"""What is logged is bounded, whatever was sent; what fails is one sentence."""

from __future__ import annotations

import io
import logging

import pytest

from app.server.refusals import LOGGED_LINE, LOGGED_TRACE, ShortLines, bound_log_lines, shortened
from tests.app.server.served import Door, sentence


def logged(*arguments: object, error: BaseException | None = None) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(ShortLines())
    logger = logging.Logger("lines")
    logger.addHandler(handler)
    logger.error(*arguments, exc_info=error)
    return stream.getvalue()


def test_lines_are_bounded() -> None:
    assert logged("a %s", "b") == "a b\n"
    long = logged("value %s", "x" * 150_000)
    assert len(long) < LOGGED_LINE + 100 and "characters" in long and long.startswith("value xx")


def test_tracebacks_are_bounded() -> None:
    try:
        raise ValueError("y" * 150_000)
    except ValueError as error:
        text = logged("failed", error=error)
    assert len(text) < LOGGED_TRACE and "ValueError: yy" in text and "Traceback" in text


def test_shortened_keeps_one_line() -> None:
    assert shortened("a\r\nb") == "a\\r\\nb" and len(shortened("x" * 10**6)) < 300


def test_the_filter_is_put_on_once() -> None:
    handler = logging.StreamHandler(io.StringIO())
    logging.getLogger().addHandler(handler)
    try:
        bound_log_lines()
        bound_log_lines()
        assert sum(isinstance(each, ShortLines) for each in handler.filters) == 1
    finally:
        logging.getLogger().removeHandler(handler)


def test_a_long_value_is_not_printed(door: Door, capfd: pytest.CaptureFixture[str]) -> None:
    long = "z" * 150_000
    for index, each in door.demo.fns.items():
        if each.queue and each.fn:
            door.join([long] * len(each.inputs), fn_index=index)
    door.post(f"/gradio_api/call/{'z' * 300}", json={"data": [long]})
    values = [None, "What?", 0.2, long, "vscan", 4]
    event = door.post("/gradio_api/call/compare", json={"data": values}).json()["event_id"]
    assert "event: error" in door.get(f"/gradio_api/call/compare/{event}").text
    out = capfd.readouterr()
    assert "z" * 1000 not in out.out + out.err and door.failed == []


def test_a_failure_is_one_sentence(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door.demo.app, "get_blocks", lambda: 1 / 0)
    answer = door.get("/config")
    monkeypatch.undo()
    assert answer.status_code == 500 and sentence(answer).startswith("Something went wrong")
    assert isinstance(door.failed.pop(), ZeroDivisionError)
