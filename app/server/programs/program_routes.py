"""The routes for programs, put together: each behind the login, if there is one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ...session.session import Session
from ..refusals import Refusal
from ..routes import MCP_PATH
from .chat_endpoint import chat_routes
from .program_login import ProgramLogin
from .program_runs import ProgramRuns

Life = Callable[[Any], AbstractAsyncContextManager[None]]
MCP_MAJOR = 2
MCP_MISSING = "--mcp needs the package mcp, version 2: pip install 'vscan-core[mcp]'"
MCP_OFF = "This server has no MCP endpoint; its operator can switch it on with --mcp."


def program_routes(
    session: Session, life: Life, most_tokens: int, mcp: bool, login: Callable[[str, str], Awaitable[bool]] | None
) -> tuple[list[Route], Life]:
    """The routes, and the lifespan that they need around the server's own.

    Raises ValueError, one sentence, if `mcp` is wanted and its package is not installed.
    """
    runs = ProgramRuns(session)
    routes = chat_routes(runs, most_tokens)
    if mcp:
        check_mcp_package()
        from .mcp_endpoint import MCPEndpoint  # late: it takes seconds, and its package is an extra

        endpoint = MCPEndpoint(runs)
        routes, life = [*routes, Route(MCP_PATH, endpoint)], endpoint.around(life)
    else:
        routes = [*routes, Route(MCP_PATH, NoMCP())]
    for route in routes:
        route.app = ProgramLogin(route.app, login)
    return routes, life


def check_mcp_package() -> None:
    """Raise ValueError, one sentence, unless the official SDK is installed in a version that is known here."""
    try:
        major = int(version("mcp").partition(".")[0])
    except (PackageNotFoundError, ValueError):
        raise ValueError(MCP_MISSING) from None
    if major != MCP_MAJOR:
        raise ValueError(MCP_MISSING)


class NoMCP:
    """Stands at the address of the MCP endpoint where it is off."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse."""
        raise Refusal(404, "route", MCP_OFF)
