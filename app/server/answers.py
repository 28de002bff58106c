"""Answers on their way out: headers for all of them, and no patience with a client that takes nothing."""

from __future__ import annotations

import anyio
from starlette.types import Message, Send

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


class GuardedAnswer:
    """A `send` that adds the headers, gives up on a client that takes nothing, and knows how far it is."""

    def __init__(self, send: Send, seconds: float) -> None:
        self.send, self.seconds = send, seconds
        self.started = self.ended = self.lost = False

    async def __call__(self, message: Message) -> None:
        """Send one message; raises TimeoutError if it is not taken."""
        if message["type"] == "http.response.start":
            self.started = True
            present = {name.lower() for name, _ in message["headers"]}
            extra = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in present]
            message = {**message, "headers": [*message["headers"], *extra]}
        elif message["type"] == "http.response.body":
            self.ended = not message.get("more_body", False)
        try:
            with anyio.fail_after(self.seconds):
                await self.send(message)
        except TimeoutError:
            self.lost = True
            raise

    async def end(self) -> None:
        """Complete an answer that has begun, unless nobody takes it."""
        if not self.ended and not self.lost:
            await self({"type": "http.response.body", "body": b"", "more_body": False})
