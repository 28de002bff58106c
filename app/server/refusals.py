"""Refusals: one sentence for the client, one bounded line for the log."""

from __future__ import annotations

import logging
import traceback
from types import TracebackType
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from .routes import without_root

LOGGED_VALUE = 200  # characters of a value that came from outside
LOGGED_LINE = 2_000  # characters of a log line
COUNTED_ALREADY = "counted"  # the reason of a refusal that has been counted before it reaches the door
LOGGED_TRACE = 8_000  # characters of a traceback
door_log = logging.getLogger("app.door")
ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class Refusal(Exception):
    """A request is refused with an HTTP status and a sentence; `reason` is one word for counting.

    `param` and `code` are for OpenAI's clients: which part of the request it is about, and a word for programs.
    """

    def __init__(
        self, status: int, reason: str, sentence: str, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(sentence)
        self.status, self.reason, self.sentence = status, reason, sentence
        self.param, self.code = param, code


def refusal_response(refusal: Refusal, scope: Scope) -> Response:
    """A refusal in the form that the clients at this address understand: OpenAI's below /v1, Gradio's elsewhere."""
    headers = {"cache-control": "no-store"} | ({"retry-after": "5"} if refusal.status in (429, 503) else {})
    _, path = without_root(scope["path"], str(scope.get("root_path", "")))
    body: dict[str, Any] = {"error": refusal.sentence, "detail": refusal.sentence}
    if path.startswith("/v1/"):
        body = {"error": openai_error(refusal)}
    return JSONResponse(body, refusal.status, headers)


def openai_error(refusal: Refusal) -> dict[str, Any]:
    """A refusal as OpenAI's clients read it."""
    kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(refusal.status)
    kind = kind or ("server_error" if refusal.status >= 500 else "invalid_request_error")
    return {"message": refusal.sentence, "type": kind, "param": refusal.param, "code": refusal.code}


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
