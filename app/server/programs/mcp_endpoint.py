"""`/mcp`: an MCP server over streamable HTTP, in the demo's process and through its door. Needs the extra `mcp`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from typing import Any

from mcp.server import Server, ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from starlette.types import Receive, Scope, Send

from vscan_core import __version__
from vscan_core.errors import InputError

from ..limits import MAX_CHAT
from ..refusals import Refusal, shortened
from .mcp_tools import TOOLS, ToolResult, tool_steps
from .program_runs import ProgramRuns

Context = ServerRequestContext[Any, Any]
MOST_CALLS = 16  # at once; the SDK holds the picture of each until it is answered
MANY_CALLS = "Many tools are being used at the moment; please try again in a few seconds."
NO_TOOL = "There is no tool {name!r} here; there are {known}."
INSTRUCTIONS = (
    "Visual token reduction on vision-language models: compare answers with all and with few visual tokens, and see "
    "which tokens of a picture a method keeps."
)


class MCPEndpoint:
    """The endpoint as an ASGI app. Every request stands for itself; nothing of a client is kept."""

    def __init__(self, runs: ProgramRuns) -> None:
        self._runs, self._calls = runs, 0
        server: Server[Any] = Server(
            "vscan", version=__version__, instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools, on_call_tool=self._call_tool,
        )  # fmt: skip
        self._manager = StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=MAX_CHAT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        await self._manager.handle_request(scope, receive, send)

    def around(self, life: Callable[[Any], AbstractAsyncContextManager[None]]) -> Callable[[Any], Any]:
        """The lifespan of the server, with that of this endpoint inside it."""

        @asynccontextmanager
        async def both(app: Any) -> AsyncIterator[None]:
            async with life(app), self._manager.run():
                yield

        return both

    async def _list_tools(self, _: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        looks = ToolAnnotations(read_only_hint=True, open_world_hint=False)
        return ListToolsResult(
            tools=[
                Tool(name=tool.name, description=tool.about, input_schema=tool.schema, annotations=looks)
                for tool in TOOLS.values()
            ]
        )

    async def _call_tool(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        if self._calls >= MOST_CALLS:
            return _refused(MANY_CALLS)
        self._calls += 1
        try:
            assert context.request is not None  # over HTTP there always is one
            return await self._answer(context.request.scope, params.name, params.arguments or {})
        except (Refusal, InputError) as error:
            return _refused(str(error))
        finally:
            self._calls -= 1

    async def _answer(self, scope: Scope, name: str, given: dict[str, Any]) -> CallToolResult:
        if name not in TOOLS:
            return _refused(NO_TOOL.format(name=shortened(name, 40), known=", ".join(TOOLS)))
        TOOLS[name].check(given)
        result: ToolResult | None = None
        with self._runs.visit(scope) as visit:
            steps = self._runs.steps(visit, partial(tool_steps, self._runs.session, name, given))
            async with aclosing(steps):
                async for step in steps:
                    result = step
        assert result is not None
        text = TextContent(text=json.dumps(result.facts, ensure_ascii=False))
        content: list[Any] = [text]
        if result.picture is not None:
            jpeg = await self._runs.work(result.jpeg)
            content = [ImageContent(data=jpeg, mime_type="image/jpeg"), text]
        return CallToolResult(content=content, structured_content=result.facts)


def _refused(sentence: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=sentence)], is_error=True)
