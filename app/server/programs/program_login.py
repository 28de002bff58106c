"""The login of programs, where the operator wants one: Gradio's own guards only Gradio's routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ..refusals import Refusal

NO_KEY = "This server wants a login: send user:password as the API key (Authorization: Bearer user:password)."


class ProgramLogin:
    """ASGI middleware around one route; `right` says whether user and password are right, None: anybody may come."""

    def __init__(self, app: ASGIApp, right: Callable[[str, str], Awaitable[bool]] | None) -> None:
        self.app, self.right = app, right

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; raises Refusal without the right key."""
        if self.right is not None:
            scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
            user, colon, password = key.strip().partition(":")
            if scheme.lower() != "bearer" or not colon or not await self.right(user, password):
                raise Refusal(401, "login", NO_KEY, code="invalid_api_key")
        await self.app(scope, receive, send)
