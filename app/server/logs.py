"""Log lines: text for people, or one JSON object a line, in which nothing is that visitors sent."""

from __future__ import annotations

import json
import logging
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from .refusals import bound_log_lines, shortened

OURS = ("app", "vscan_core", "vscan_demo")  # loggers whose sentences are ours
LOGGED_FIELDS = ("route", "status", "ms", "model", "method", "tokens_in", "tokens_kept", "end", "waited_ms", "kind")
FRAMES = 3  # of a failure, the innermost ones
REQUEST_LOG = "app.requests"
WEB_SERVER = ("uvicorn", "uvicorn.error", "uvicorn.access")
request_id: ContextVar[str] = ContextVar("request_id", default="")  # of the request that is being answered


class JsonLines(logging.Formatter):
    """A record as JSON: its time, level and event, and of its `extra` fields those in LOGGED_FIELDS.

    The messages of other libraries may quote a file or a question, so only their patterns are kept ("cannot open %s"),
    and of a failure only its type and place.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        ours = record.name.partition(".")[0] in OURS
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": shortened(record.getMessage() if ours else record.__dict__.get("pattern", "")),
        }
        if request_id.get():
            line["request"] = request_id.get()
        for name in LOGGED_FIELDS:
            if name in record.__dict__:
                value = record.__dict__[name]
                line[name] = value if isinstance(value, int | float) else shortened(str(value))
        if record.exc_info and record.exc_info[1] is not None:
            line |= _about(record.exc_info[1])
        return json.dumps(line)


def _about(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} in {frame.name}" for frame in frames]
    return {"error": type(error).__name__, "where": [shortened(place) for place in places]}


def keep_pattern(record: logging.LogRecord) -> bool:
    """A filter that remembers a record's message as it is in the code, before other filters fill it in."""
    record.__dict__["pattern"] = str(record.msg)
    return True


def begin_logging(as_json: bool) -> None:
    """Send the log of this process to standard error, in this form."""
    handler = logging.StreamHandler()
    if as_json:
        handler.addFilter(keep_pattern)
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(as_json)
    for name in ("httpx", "httpcore", "mcp"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger(REQUEST_LOG).setLevel(logging.INFO if as_json else logging.WARNING)
    bound_log_lines()


def adopt_web_server_logs() -> None:
    """Once the web server runs: its lines take the same way as all others."""
    for name in WEB_SERVER:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    bound_log_lines()
