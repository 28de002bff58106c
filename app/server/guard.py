"""What stands between the network and Gradio: limits, a few refusals, security headers and a health check."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_FILE = 10_000_000  # bytes of an uploaded picture
MAX_UPLOAD = 12_000_000  # bytes of a request that uploads one
MAX_JSON = 200_000  # bytes of any other request
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
        "connect-src 'self' data: blob:; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'"
    ),
}


class Guard:
    """ASGI middleware: refuses what Gradio would let through, and adds headers to everything."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                extra = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in present]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        if _asks_for_a_foreign_file(scope["path"]):
            await refusal_response(403, "This server only serves its own files.")(scope, receive, send_with_headers)
        elif scope["method"] in ("POST", "PUT", "PATCH"):
            await self._with_body(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)

    async def _with_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body up to its limit, check it, and pass it on to the app."""
        upload = scope["path"].rstrip("/").endswith("/upload")
        limit = MAX_UPLOAD if upload else MAX_JSON
        body = await _body(scope, receive, limit)
        if body is None:
            await refusal_response(413, "This request is too large.")(scope, receive, send)
            return
        if not upload and _brings_a_foreign_file(body):
            await refusal_response(400, "Please send pictures as uploaded files.")(scope, receive, send)
            return
        unread = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        await self.app(scope, replay, send)


def _asks_for_a_foreign_file(path: str) -> bool:
    """Gradio's file route fetches public web addresses on behalf of anybody; so does its proxy route."""
    for route in ("file=", "proxy="):
        _, found, rest = path.partition(route)
        if found and rest.strip().lower().startswith(("http:", "https:", "//")):
            return True
    return False


async def _body(scope: Scope, receive: Receive, limit: int) -> bytes | None:
    """The whole body, or None as soon as it is known to exceed the limit."""
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if not declared.isdigit() or int(declared) > limit:
        return None
    chunks: list[bytes] = []
    total = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        chunks.append(message.get("body", b""))
        total += len(chunks[-1])
        if total > limit:
            return None
        if not message.get("more_body", False):
            return b"".join(chunks)


def _brings_a_foreign_file(body: bytes) -> bool:
    """Whether a JSON body holds a file that is a web address or inline data instead of an upload."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return False  # not JSON: Gradio refuses it
    for item in _dictionaries(payload):
        path, url = str(item.get("path") or ""), str(item.get("url") or "")
        if path.lower().startswith(("http:", "https:", "data:")) or url.lower().startswith("data:"):
            return True
    return False


def _dictionaries(payload: Any) -> Iterator[dict[str, Any]]:
    waiting = [payload]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def refusal_response(status: int, sentence: str) -> Response:
    """A refusal in the form that Gradio's own clients understand."""
    return JSONResponse({"error": sentence, "detail": sentence}, status)


async def healthz(_: Request) -> Response:
    """The server answers."""
    return JSONResponse({"status": "ok"})


def app_kwargs() -> dict[str, Any]:
    """Arguments for Gradio's FastAPI app."""
    return {
        "middleware": [Middleware(Guard)],
        "routes": [Route("/healthz", healthz)],
        "docs_url": None,
        "redoc_url": None,
        "openapi_url": None,
    }
