"""Sees every HTTP request: counts it, writes a log line, and says so if the server lacks memory or disk."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from contextvars import ContextVar

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..ui.faults import DISK, FAULT_SENTENCES, fault_kind
from .logs import REQUEST_LOG, request_id
from .metrics import Meters
from .refusals import COUNTED_ALREADY, Refusal, refusal_response
from .routes import MCP_PATH, open_routes, without_root

OF_THE_OPERATOR = ("/healthz", "/readyz", "/metrics")  # asked every few seconds: not in the log unless they fail
FOR_PROGRAMS = ("/v1/", MCP_PATH)
request_log = logging.getLogger(REQUEST_LOG)
fault_log = logging.getLogger("app.faults")
_counted: ContextVar[list[str]] = ContextVar("counted")  # reasons of refusals of this request


class RequestWatch:
    """ASGI middleware around all others."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self.app, self.meters = app, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name, begun, status = secrets.token_hex(6), time.monotonic(), 0
        counted: list[str] = []
        request_id.set(name)
        _counted.set(counted)

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = name
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception as error:
            self.meters.failed(error)
            raise
        finally:
            route = _pattern(scope)
            self.meters.requested(route, status, counted=bool(counted))
            level = logging.WARNING if status >= 500 else logging.DEBUG if route in OF_THE_OPERATOR else logging.INFO
            spent_ms = round(1000 * (time.monotonic() - begun), 1)
            request_log.log(level, "request", extra={"route": route, "status": status, "ms": spent_ms})


class FaultAnswers:
    """ASGI middleware inside all others: no room on the disk and no memory are told in one sentence."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self.app, self.meters = app, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception as error:
            kind = fault_kind(error)
            # a file that cannot be read says nothing about the disk: its path may come from outside
            sentence = None if kind == DISK and scope["method"] == "GET" else FAULT_SENTENCES.get(kind or "")
            if begun or sentence is None:
                raise
            self.meters.failed(error)
            fault_log.error("a request failed", exc_info=error)
            refusal = Refusal(507 if kind == DISK else 503, str(kind), sentence)
            await refusal_response(refusal, scope)(scope, receive, send)


def counting_refusals(meters: Meters) -> Callable[[str], None]:
    """What the door tells its reasons to: each request counts once."""

    def refused(reason: str) -> None:
        _counted.get([]).append(reason)
        if reason != COUNTED_ALREADY:
            meters.refused(reason)

    return refused


def _pattern(scope: Scope) -> str:
    """The route's path as the app has it, never the visitor's."""
    route = scope.get("route")
    if route is not None:
        return str(route.path)
    _, path = without_root(scope["path"], str(scope.get("root_path", "")))
    if path in OF_THE_OPERATOR:
        return path
    ours = open_routes(path) if path.startswith(FOR_PROGRAMS) else {}
    return next((one.path for one in ours.values()), "other")
