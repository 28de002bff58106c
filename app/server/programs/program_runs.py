"""Runs for programs that do not come through Gradio's queue: bounded for each, and ended when the program leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio.to_thread import run_sync
from starlette.types import Receive, Scope

from vscan_core.errors import InputError

from ...session.devices import BUSY
from ...session.session import Session
from ...session.visitors import PROGRAM, Visit, Visitor, steps_in_visit
from ...ui.errors import explained
from ...ui.events import AS_RUN
from ...ui.faults import DISK, MEMORY, fault_kind
from ..drain import CUT_OFF, DRAINING
from ..origins import visitor_address
from ..refusals import COUNTED_ALREADY, Refusal, shortened

T = TypeVar("T")

LONGEST_SENTENCE = 500  # characters; a sentence may quote what was sent
LATER = (DRAINING, CUT_OFF, BUSY)  # the same request may be answered in a minute
_END: Any = object()


class ProgramRuns:
    """What programs do with a session, in threads of their own, as many as Gradio has for runs."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._threads = anyio.CapacityLimiter(AS_RUN["concurrency_limit"])

    async def work(self, function: Callable[..., T], *args: Any, reason: str = "input") -> T:
        """Call a function that takes a while; raises Refusal, counted under `reason`, for whatever it raises."""
        try:
            return await run_sync(function, *args, limiter=self._threads)
        except Refusal:
            raise
        except Exception as error:
            raise program_refusal(error, reason) from None

    @contextmanager
    def visit(self, scope: Scope) -> Iterator[Visit]:
        """One run of whoever sent this request, as long as this lasts. Raises Refusal if it is one too many."""
        visitor = Visitor(PROGRAM, visitor_address(scope))
        with ExitStack() as stack:
            try:
                visit = stack.enter_context(self.session.visits.run(visitor))
            except InputError as error:
                raise Refusal(429, "rate", str(error), code="rate_limit_exceeded") from None
            yield visit

    async def steps(self, visit: Visit, start: Callable[[], Generator[T, None, None]]) -> AsyncGenerator[T, None]:
        """The steps of a session's run, whose own watch counts how it fails. Closing them stops it. Raises Refusal."""
        counted = partial(self.work, reason=COUNTED_ALREADY)
        steps = steps_in_visit(visit, await counted(start))
        try:
            while (step := await counted(next, steps, _END)) is not _END:
                yield step
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(steps.close, limiter=self._threads)


def program_refusal(error: Exception, reason: str = "input") -> Refusal:
    """What to answer to a failure: a sentence, and a status by which clients decide whether to ask again.

    A run that took too long is told with 400, which they do not repeat.
    """
    kind = fault_kind(error)
    if kind is None:
        return Refusal(503 if str(error) in LATER else 400, reason, shortened(str(error), LONGEST_SENTENCE))
    return Refusal({MEMORY: 503, DISK: 507}.get(kind, 500), reason, explained(error))


async def whole_body(receive: Receive) -> bytes:
    """The body of a request that the door has read and bounded; b"" if the client has left."""
    pieces = []
    while (message := await receive())["type"] == "http.request":
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            break
    return b"".join(pieces)


@asynccontextmanager
async def while_listening(receive: Receive) -> AsyncIterator[None]:
    """The block is cancelled, and ends quietly, when the client leaves; its body must have been read."""

    async def watch(scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    with anyio.CancelScope() as scope:
        watcher = asyncio.create_task(watch(scope))
        try:
            yield
        finally:
            watcher.cancel()
