"""The HTTP side: `{"vscan": {...}}` in any request, and in `usage` the visual tokens that it had and kept.

An ASGI middleware for vLLM's own `--middleware vscan_vllm.middleware.RequestSettings`. Of the options by which clients
could otherwise change how pictures are prepared, it lets through nothing but these settings.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import uuid4

from vscan_vllm.settings import VSCAN_KEY
from vscan_vllm.usage import REQUEST, forget_tokens, noted_tokens

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

OPTIONS = "mm_processor_kwargs"
FIXED = "{name} can be set only where the server starts; a request may choose " + VSCAN_KEY + " alone"


class RequestSettings:
    """Reads the JSON body of each POST, and writes to the `usage` of its reply, also of a streamed one."""

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Every other kind of request passes unchanged."""
        headers = dict(scope.get("headers", ()))
        if scope["type"] != "http" or scope["method"] != "POST" or b"json" not in headers.get(b"content-type", b""):
            await self.app(scope, receive, send)
            return
        request = uuid4().hex
        raw = await _body(receive)
        try:
            body = with_settings(raw, request)
        except ValueError as reason:
            await _refuse(send, str(reason))
            return
        scope = {**scope, "headers": _with_length(scope["headers"], len(body))}
        try:
            await self.app(scope, _replayed(body, receive), _Reply(send, request))
        finally:
            forget_tokens(request)


def with_settings(raw: bytes, request: str) -> bytes:
    """The body of a request with `vscan` where the processor finds it, and the request's number beside it.

    Raises ValueError, in one sentence, for options that only the operator may set. What is no JSON object passes.
    """
    try:
        body = json.loads(raw)
    except ValueError:
        return raw
    if not isinstance(body, dict):
        return raw
    given = body.get(OPTIONS)
    options = {} if given is None else given
    if not isinstance(options, dict):
        raise ValueError(f"{OPTIONS} must be an object")
    for name in options:
        if name != VSCAN_KEY:
            raise ValueError(FIXED.format(name=f"{OPTIONS}.{name}"))
    if body.get("media_io_kwargs"):
        raise ValueError(FIXED.format(name="media_io_kwargs"))
    if VSCAN_KEY in body and VSCAN_KEY in options:
        raise ValueError(f"{VSCAN_KEY} is given twice, by itself and in {OPTIONS}; give it once")
    if VSCAN_KEY in body:
        options[VSCAN_KEY] = body.pop(VSCAN_KEY)
    return json.dumps({**body, OPTIONS: {**options, REQUEST: request}}).encode()


def with_usage(event: bytes, request: str) -> bytes:
    """A JSON reply, or a line of a stream, whose `usage` also has the counts of the request; others are unchanged."""
    counts = noted_tokens(request)
    if counts is None or b'"usage"' not in event:
        return event
    head, text = (b"data: ", event.removeprefix(b"data: ")) if event.startswith(b"data: ") else (b"", event)
    try:
        reply = json.loads(text)
    except ValueError:
        return event
    holder = reply.get("response", reply) if isinstance(reply, dict) else None  # streams of /v1/responses nest it
    if not isinstance(holder, dict) or not isinstance(holder.get("usage"), dict):
        return event
    holder["usage"][VSCAN_KEY] = counts
    return head + json.dumps(reply, separators=(",", ":")).encode()


class _Reply:
    """Passes a reply on: a JSON one when it is complete, the lines of a stream as they come."""

    def __init__(self, send: Send, request: str) -> None:
        self.send, self.request = send, request
        self.start: Message | None = None  # of a JSON reply, held until its new length is known
        self.lines = False  # whether this is a stream of events
        self.pending = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = dict(message["headers"]).get(b"content-type", b"")
            self.lines = kind.startswith(b"text/event-stream")
            if kind.startswith(b"application/json"):
                self.start = message
                return
        elif message["type"] == "http.response.body" and (self.lines or self.start):
            await self._body(self.pending + message.get("body", b""), message.get("more_body", False))
            return
        await self.send(message)

    async def _body(self, body: bytes, more: bool) -> None:
        if self.start is not None and more:
            self.pending = body
            return
        if self.start is not None:
            body = with_usage(body, self.request)
            await self.send({**self.start, "headers": _with_length(self.start["headers"], len(body))})
        else:
            end = body.rfind(b"\n") + 1 if more else len(body)
            body, self.pending = body[:end], body[end:]
            body = b"\n".join(with_usage(line, self.request) for line in body.split(b"\n"))
        await self.send({"type": "http.response.body", "body": body, "more_body": more})


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """`body` as the first message, then what the client does later: it may go away."""
    first = [{"type": "http.request", "body": body, "more_body": False}]

    async def messages() -> Message:
        return first.pop() if first else await receive()

    return messages


def _with_length(headers: Any, length: int) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    return [*kept, (b"content-length", str(length).encode())]


async def _refuse(send: Send, reason: str) -> None:
    error = {"message": reason, "type": "BadRequestError", "param": VSCAN_KEY, "code": 400}
    body = json.dumps({"error": error}).encode()
    headers = _with_length([(b"content-type", b"application/json")], len(body))
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})
