"""Refusals: one sentence for the client, one bounded line for the log."""

from __future__ import annotations

import logging
import traceback
from types import TracebackType

from starlette.responses import JSONResponse, Response

LOGGED_VALUE = 200  # characters of a value that came from outside
LOGGED_LINE = 2_000  # characters of a log line
LOGGED_TRACE = 8_000  # characters of a traceback
door_log = logging.getLogger("app.door")
ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class Refusal(Exception):
    """A request is refused with an HTTP status and a sentence; `reason` is one word for counting."""

    def __init__(self, status: int, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.reason, self.sentence = status, reason, sentence


def refusal_response(status: int, sentence: str) -> Response:
    """A refusal in the form that Gradio's own clients understand."""
    headers = {"cache-control": "no-store"} | ({"retry-after": "5"} if status == 503 else {})
    return JSONResponse({"error": sentence, "detail": sentence}, status, headers)


def shortened(text: str, limit: int = LOGGED_VALUE) -> str:
    """The text in at most about `limit` characters on one line: its two ends, and how much was left out."""
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]} ... {len(text) - 2 * half} characters ... {text[-half:]}"
    return text.replace("\r", "\\r").replace("\n", "\\n")


class ShortLines(logging.Filter):
    """Bounds the length of log lines and tracebacks; for handlers, which see the records of every logger."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten the record in place; nothing is dropped."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit: logging reports it itself
            return True
        if len(message) > LOGGED_LINE:
            record.msg, record.args = shortened(message, LOGGED_LINE), ()
        if isinstance(record.exc_info, tuple) and record.exc_info[0] and not record.exc_text:
            record.exc_text = shortened_trace(record.exc_info)
        return True


def shortened_trace(info: ExceptionInfo | tuple[None, None, None]) -> str:
    """A traceback whose lines are bounded, and which is bounded as a whole: its two ends."""
    lines = "".join(traceback.format_exception(*info)).splitlines()
    text = "\n".join(shortened(line, LOGGED_VALUE * 2) for line in lines)
    if len(text) > LOGGED_TRACE:
        text = f"{text[: LOGGED_TRACE // 2]}\n...\n{text[-LOGGED_TRACE // 2 :]}"
    return text


def bound_log_lines() -> None:
    """Put `ShortLines` on every handler of the root logger and of the web server's; harmless when repeated."""
    for name in ("", "uvicorn"):
        for handler in logging.getLogger(name).handlers:
            if not any(isinstance(each, ShortLines) for each in handler.filters):
                handler.addFilter(ShortLines())
