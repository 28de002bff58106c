"""The server never fetches anything for a visitor: the functions with which Gradio would are replaced.

The routes and bodies that lead to them are closed already. This holds whatever else a new version of Gradio brings.
"""

from __future__ import annotations

import inspect
import traceback
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

import gradio as gr
import safehttpx  # type: ignore[import-untyped]
from gradio import processing_utils, queueing, route_utils, routes

from .refusals import door_log, shortened
from .uploads import OneFileParser

FETCHERS: tuple[tuple[ModuleType, str], ...] = (
    (safehttpx, "get"),
    (safehttpx, "async_validate_url"),
    (processing_utils, "async_ssrf_protected_get"),
    (processing_utils, "async_ssrf_protected_download"),
    (processing_utils, "ssrf_protected_download"),
    (processing_utils, "save_url_to_cache"),
    (processing_utils, "unsafe_download"),
    (routes, "secure_url_stream_response"),
    (route_utils, "secure_url_stream_response"),
)
NOT_FETCHED = "This server fetches no files from other servers; please upload the file."


def fetch_nothing(*_: Any, **__: Any) -> NoReturn:
    """Stands in for a function that fetches."""
    raise gr.Error(NOT_FETCHED, print_exception=False)


async def fetch_nothing_later(*_: Any, **__: Any) -> NoReturn:
    """Stands in for an asynchronous function that fetches."""
    fetch_nothing()


def close_gradio() -> None:
    """Replace what Gradio fetches, reads uploads and prints tracebacks with, in this process and for good."""
    for module, name in FETCHERS:
        awaited = inspect.iscoroutinefunction(getattr(module, name))
        setattr(module, name, fetch_nothing_later if awaited else fetch_nothing)
    route_utils.GradioMultiPartParser = OneFileParser  # type: ignore[misc]
    for module in (queueing, routes):
        module.traceback = SimpleNamespace(**{**vars(traceback), "print_exc": _log_failure})  # type: ignore[attr-defined]


def _log_failure(*_: Any, **__: Any) -> None:
    """Gradio prints a failing handler's traceback with all values in it; here it is one bounded record."""
    door_log.warning("a handler failed", exc_info=True)


def kind_and_message(error: BaseException) -> str:
    """An error for a log line: its kind and a bounded message."""
    return f"{type(error).__name__}: {shortened(str(error))}"
