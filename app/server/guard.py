"""What stands between the network and Gradio: what is open, who may ask, how much and for how long."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .answers import HEADERS, GuardedAnswer
from .bodies import CountedBody, UploadLine, refuse, replayed
from .fetching import close_gradio, kind_and_message
from .files import check_served_file
from .limits import MAX_FILE, MAX_JSON, MAX_UPLOAD, DoorLimits
from .origins import Origins, visitor_address
from .page_line import PAGE_ROUTES, PageLine
from .payloads import checked_payload
from .refusals import Refusal, bound_log_lines, door_log, refusal_response, shortened
from .routes import API, BodyKind, OpenRoute, normalised, open_routes, without_root

__all__ = ["HEADERS", "MAX_FILE", "MAX_JSON", "MAX_UPLOAD", "Guard", "app_kwargs", "refusal_response"]

NOT_FOUND = "There is nothing at this address."
NOT_ALLOWED = "This address does not take {method} requests."
TOO_MANY_REQUESTS = "The server has too many requests at the moment; please try again in a few seconds."
SENSELESS = "This request makes no sense to the server; /gradio_api/info has the endpoints and what they take."
FAILED = "Something went wrong on the server. Please try again."
UPLOAD_NAME = re.compile(r"[A-Za-z0-9_\-]{1,64}")


class Guard:
    """ASGI middleware: refuses what Gradio would let through, and adds headers to everything.

    `refused` is told one word for each refusal, `failed` each error that nobody expected.
    """

    def __init__(
        self, app: ASGIApp, limits: DoorLimits | None = None, refused: Callable[[str], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:  # fmt: skip
        self.app, self.limits = app, limits or DoorLimits()
        self.refused, self.failed = refused, failed
        self.origins = Origins(self.limits.trusted_hosts, self.limits.trusted_proxies)
        self.uploads = UploadLine(self.limits.uploads, self.limits.upload_wait_seconds)
        self.chats = UploadLine(self.limits.chats, self.limits.upload_wait_seconds)
        self.pages = PageLine(app)
        self.at_once: Counter[str] = Counter()  # requests by address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = GuardedAnswer(send, self.limits.send_seconds)
        body: CountedBody | None = None
        try:
            await self.origins.settle(scope)
            route, path = self._route(scope)
            body = CountedBody(route.body, Headers(scope=scope), receive, self.limits)
            with self._place(visitor_address(scope)):
                await self._serve(route, path, scope, body, answer)
        except Refusal as refusal:
            self._note(scope, refusal)
            if not answer.started:
                body = body or CountedBody(BodyKind.NOTHING, Headers(scope=scope), receive, self.limits)
                await refuse(refusal, body, self.limits.linger_seconds, scope, answer)
        except ClientDisconnect:
            door_log.debug("the client left: %s", shortened(scope["path"]))
        except Exception as error:
            await self._explain(error, scope, receive, answer)

    def _route(self, scope: Scope) -> tuple[OpenRoute, str]:
        prefix, rest = without_root(scope["path"], str(scope.get("root_path", "")))
        path = normalised(rest)
        found = open_routes(path) if path else {}
        if not found or path is None:
            raise Refusal(404, "route", NOT_FOUND)
        method = scope["method"]
        route = found.get("GET" if method == "HEAD" else method)
        if route is None:
            raise Refusal(405, "method", NOT_ALLOWED.format(method=shortened(method, 20)))
        if not route.from_anywhere:
            self.origins.check_host(scope)
            self.origins.check_origin(scope, route.changes or method == "POST")
        scope["path"] = prefix + path  # what was decided on is what Gradio sees
        return route, path

    @contextmanager
    def _place(self, address: str) -> Iterator[None]:
        crowded = self.at_once.total() >= self.limits.requests
        if crowded or self.at_once[address] >= self.limits.requests_per_address:
            raise Refusal(503, "requests", TOO_MANY_REQUESTS)
        self.at_once[address] += 1
        try:
            yield
        finally:
            self.at_once[address] -= 1
            if not self.at_once[address]:
                del self.at_once[address]

    async def _serve(self, route: OpenRoute, path: str, scope: Scope, body: CountedBody, send: Send) -> None:
        body.check_headers()
        receive: Receive = body.receive
        if path.startswith(f"{API}/file="):
            check_served_file(path.partition("file=")[2], scope)
        if path.startswith(f"{API}/upload"):
            _check_upload_name(scope)
        if path == f"{API}/info":
            scope["app"].api_info = None  # kept by Gradio with the address of whoever asked first
        if route.body in (BodyKind.JSON, BodyKind.FORM):
            whole = await body.whole()
            if whole is None:
                return
            if route.body is BodyKind.JSON:
                whole = checked_payload(whole, path, scope["app"].get_blocks())
            MutableHeaders(scope=scope)["content-length"] = str(len(whole))
            receive = replayed(whole, body.receive)
        elif route.body is BodyKind.CHAT:
            async with self.chats.place():
                receive = await body.kept()
        if route.streams:
            await self.app(scope, receive, send)
        elif route.body is BodyKind.UPLOAD:
            async with self.uploads.place():
                await self.app(scope, body, send)
        else:
            with anyio.fail_after(self.limits.answer_seconds):
                await (self.pages if path in PAGE_ROUTES else self.app)(scope, receive, send)

    def _note(self, scope: Scope, refusal: Refusal) -> None:
        what = shortened(scope["method"], 20), shortened(scope["path"]), refusal.status, refusal.reason
        door_log.info("refused %s %s: %d, %s", *what)
        if self.refused:
            self.refused(refusal.reason)

    async def _explain(self, error: Exception, scope: Scope, receive: Receive, answer: GuardedAnswer) -> None:
        """Gradio raises errors for what does not fit; an answer that has begun is ended."""
        if answer.started:
            door_log.info("an answer ended early: %s: %s", shortened(scope["path"]), kind_and_message(error))
            if not isinstance(error, TimeoutError):
                await answer.end()  # else the web server closes the connection, so that it is not taken for complete
            return
        looks = scope["method"] in ("GET", "HEAD")
        senseless = (LookupError, TypeError, ValueError, OSError) if looks else (LookupError, TypeError, ValueError)
        if isinstance(error, senseless) and _from_outside(scope):  # a full disk is no fault of who uploads
            status, sentence = (404, NOT_FOUND) if looks else (400, SENSELESS)
            self._note(scope, Refusal(status, "senseless", kind_and_message(error)))
            await refusal_response(Refusal(status, "senseless", sentence), scope)(scope, receive, answer)
            return
        door_log.error("failure at %s", shortened(scope["path"]), exc_info=error)
        if self.failed:
            self.failed(error)
        await refusal_response(Refusal(500, "failure", FAILED), scope)(scope, receive, answer)


def _from_outside(scope: Scope) -> bool:
    """Whether such an error can only come from what was sent: on routes that look something up."""
    return scope["path"] != "/" and not scope["path"].startswith(("/config", "/healthz", "/readyz", "/metrics"))


def _check_upload_name(scope: Scope) -> None:
    """Gradio remembers the name of every upload whose progress somebody asks for."""
    name = Request(scope).query_params.get("upload_id")
    if name is not None and not UPLOAD_NAME.fullmatch(name):
        raise Refusal(400, "upload_id", "The upload_id has to be 1 to 64 letters and digits.")


async def healthz(_: Request) -> Response:
    """The server answers."""
    return JSONResponse({"status": "ok"})


@asynccontextmanager
async def watched_life(_: Any) -> AsyncIterator[None]:
    """From the start of the server on, Gradio fetches nothing, and log lines are bounded."""
    close_gradio()
    bound_log_lines()
    yield


def app_kwargs(
    limits: DoorLimits | None = None, refused: Callable[[str], None] | None = None,
    failed: Callable[[Exception], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Arguments for Gradio's FastAPI app. The web server believes no proxy from then on: see DoorLimits."""
    os.environ["FORWARDED_ALLOW_IPS"] = ""  # else, whatever comes from this computer would be a proxy
    return {
        "middleware": [Middleware(Guard, limits=limits, refused=refused, failed=failed)],
        "routes": [Route("/healthz", healthz)],
        "lifespan": watched_life,
        "docs_url": None,
        "redoc_url": None,
        "openapi_url": None,
    }
