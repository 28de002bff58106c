"""One page is written at a time, and a slow client keeps nobody waiting."""

from __future__ import annotations

import anyio
import pytest
from starlette.types import Message, Receive, Scope, Send

from app.server.page_line import PageLine
from tests.apart import run_apart

PATIENCE_S = 30.0


class Writer:
    """An app that writes one page for each `let`."""

    def __init__(self, fails: bool = False) -> None:
        self.begun, self.fails = 0, fails
        self.let = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        await self.let.wait()
        if self.fails:
            raise ValueError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def nothing() -> Message:
    return {"type": "http.disconnect"}


def test_a_page_is_written_after_the_other_and_sent_beside_it() -> None:
    async def visits() -> None:
        writer, taken = Writer(), []
        line = PageLine(writer)

        async def stalls(message: Message) -> None:
            taken.append(message)
            await anyio.sleep_forever()

        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(line, {"type": "http"}, nothing, stalls)
                await anyio.wait_all_tasks_blocked()
                assert writer.begun == 1
                writer.let.set()
                while len(taken) < 3:
                    await anyio.sleep(0.01)
                group.cancel_scope.cancel()

    run_apart(visits)


@pytest.mark.parametrize("leaves", [True, False])
def test_a_page_that_fails_or_whose_visitor_leaves_gives_its_place_back(leaves: bool) -> None:
    async def visits() -> None:
        writer = Writer(fails=True)
        line = PageLine(writer)
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as group:
                if leaves:
                    group.start_soon(line, {"type": "http"}, nothing, nothing)
                    await anyio.wait_all_tasks_blocked()
                    group.cancel_scope.cancel()
            writer.let.set()
            for _ in range(2):
                with pytest.raises(ValueError):
                    await line({"type": "http"}, nothing, nothing)
        assert writer.begun == 2 + leaves

    run_apart(visits)
