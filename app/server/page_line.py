"""The page is written for one visitor after another: each takes the processor for a while, and all at once everything
else would wait for them."""

from __future__ import annotations

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE_ROUTES = ("/", "/config")


class PageLine:
    """Lets one page be written at a time. Sending it is not waited for: a slow client keeps nobody waiting."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.place = anyio.Semaphore(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request for the page."""
        await self.place.acquire()
        written = False

        async def noting(message: Message) -> None:
            nonlocal written
            if not written:
                written = True
                self.place.release()
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            if not written:
                self.place.release()
