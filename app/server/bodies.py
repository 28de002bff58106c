"""Request bodies: counted while they arrive, with a time limit, and uploads a few at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from .limits import DoorLimits
from .refusals import Refusal, refusal_response
from .routes import BodyKind

CONTENT_TYPES = {
    BodyKind.JSON: ("application/json",),
    BodyKind.FORM: ("application/x-www-form-urlencoded", "multipart/form-data"),
    BodyKind.UPLOAD: ("multipart/form-data",),
    BodyKind.CHAT: ("application/json",),
}
WANTED = {
    BodyKind.JSON: "Send JSON, with the content type application/json.",
    BodyKind.FORM: "Send the fields of a form.",
    BodyKind.UPLOAD: "Send one file in a form, with the content type multipart/form-data.",
    BodyKind.CHAT: "Send JSON, with the content type application/json.",
}
TOO_LARGE = "This request is too large: at most {limit} bytes are accepted here."
TOO_LARGE_FILE = "This file is too large: at most {limit:.0f} MB are accepted."
ARRIVES_TOO_SLOWLY = "This request took too long to arrive; please send it again."
UPLOADS_BUSY = "Too many files are being uploaded at the moment; please try again in a few seconds."
MAX_DIGITS = 15  # of a declared length


class CountedBody:
    """One request's body. Called like the server's own `receive`, it raises Refusal at the limits."""

    def __init__(self, kind: BodyKind, headers: Headers, receive: Receive, limits: DoorLimits) -> None:
        upload = kind in (BodyKind.UPLOAD, BodyKind.CHAT)
        self.kind, self.headers, self.receive = kind, headers, receive
        self.most = {
            BodyKind.NOTHING: 0,
            BodyKind.JSON: limits.json_bytes,
            BodyKind.FORM: limits.form_bytes,
            BodyKind.UPLOAD: limits.upload_bytes,
            BodyKind.CHAT: limits.chat_bytes,
        }[kind]
        sentence = TOO_LARGE_FILE if upload else TOO_LARGE
        self.too_large = sentence.format(limit=limits.file_bytes / 1e6 if upload else self.most)
        self.seconds = limits.upload_seconds if upload else limits.body_seconds
        self.idle_seconds = limits.idle_seconds
        self.began: float | None = None  # when the first piece was asked for
        self.received = 0  # bytes
        self.complete = False

    def check_headers(self) -> None:
        """Refuse what the headers already tell: a length above the limit, and a content type of another kind."""
        declared = self.headers.get("content-length", "0")
        if not (declared.isascii() and declared.isdigit() and len(declared) <= MAX_DIGITS):
            raise Refusal(400, "length", "The Content-Length of this request is not a number of bytes.")
        length, chunked = int(declared), "transfer-encoding" in self.headers
        if self.kind is BodyKind.NOTHING:
            if length or chunked:
                raise Refusal(400, "body", "Nothing can be sent to this address; ask for it without a body.")
            return
        content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in CONTENT_TYPES[self.kind]:
            raise Refusal(415, "content_type", WANTED[self.kind])
        if length > self.most:
            raise Refusal(413, "size", self.too_large)

    async def __call__(self) -> Message:
        """The next piece."""
        if self.complete:
            return await self.receive()  # waits for the client to leave
        now = anyio.current_time()
        self.began = self.began or now
        patience = min(self.idle_seconds, self.began + self.seconds - now)
        message: Message | None = None
        with anyio.move_on_after(max(patience, 0)):
            message = await self.receive()
        if message is None:
            raise Refusal(408, "slow", ARRIVES_TOO_SLOWLY)
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
            if self.received > self.most:
                raise Refusal(413, "size", self.too_large)
        return message

    async def whole(self) -> bytes | None:
        """All of it; None if the client left."""
        pieces: list[bytes] = []
        while not self.complete:
            message = await self()
            if message["type"] == "http.disconnect":
                return None
            pieces.append(message.get("body", b""))
        return b"".join(pieces)

    async def kept(self) -> Receive:
        """A `receive` for all of it; nobody else holds what it hands out. If the client left, it says so."""
        whole = await self.whole()
        return self.receive if whole is None else replayed(whole, self.receive)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that hands out a body that has been read, and then waits for the client to leave."""
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return unread.pop() if unread else await receive()

    return replay


class UploadLine:
    """The uploads that run at once; further ones wait, unread, and are refused when that takes too long."""

    def __init__(self, places: int, wait_seconds: float) -> None:
        self.places = anyio.Semaphore(places)
        self.wait_seconds = wait_seconds

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place for one upload; raises Refusal."""
        entered = False
        with anyio.move_on_after(self.wait_seconds):
            await self.places.acquire()
            entered = True
        if not entered:
            raise Refusal(503, "uploads", UPLOADS_BUSY)
        try:
            yield
        finally:
            self.places.release()


async def refuse(refusal: Refusal, body: CountedBody | None, linger: float, scope: Scope, send: Send) -> None:
    """Send a refusal. A client that is still sending gets to read it: the rest is thrown away for `linger` seconds.

    A connection that is closed earlier is reset, and the answer lost.
    """
    response = refusal_response(refusal, scope)
    waiting = body is not None and not body.complete and _has_body(body.headers)
    if waiting:
        response.headers["connection"] = "close"
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    content = b"" if scope["method"] == "HEAD" else response.body
    await send({"type": "http.response.body", "body": content, "more_body": waiting})
    if waiting and body is not None:
        with anyio.move_on_after(linger):
            message: Message = {"type": "http.request", "more_body": True}
            while message["type"] == "http.request" and message.get("more_body", False):
                message = await body.receive()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
