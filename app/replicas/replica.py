"""In the process of a replica: a session of its own, whose methods are called by value. It holds no visitor's state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import torch
from ray import serve

from vscan_core.batched import BatchAnswer

from ..session.elsewhere import CallRefused, SessionCall, events_of
from ..session.engine import Engine
from ..session.quotas import FairUse
from ..session.session import Session
from ..session.sources import OpenedSource
from .batches import AskCall, batch_answers

MOST_TOGETHER = 8  # questions in a batch
TOGETHER_WITHIN_S = 0.01  # for which a question waits for others; while a batch is answered, the next one gathers

_END = object()


@dataclass(frozen=True)
class StreamEnd:
    """The last thing in every stream: one without it was cut off, since the replica has ended."""


@dataclass(frozen=True)
class ModelFacts:
    """What the web server knows of a model whose weights it does not have."""

    name: str
    config: Any  # transformers' own
    device: torch.device


class EngineReplica:
    """A model on one device, for a web server in another process."""

    def __init__(self, model: str, fair: FairUse, make_engine: Callable[[], Engine] = Engine) -> None:
        """Load the model. Raises InputError if that fails; Ray Serve then tries it again."""
        self._session = Session(make_engine(), model, fair)
        self._session.model(model)

    def facts(self) -> ModelFacts:
        """Of its model."""
        lvlm = self._session.model(self._session.default_model)
        return ModelFacts(self._session.default_model, lvlm.model.config, torch.device(lvlm.model.device))

    async def events(self, call: SessionCall, source: OpenedSource) -> AsyncGenerator[Any, None]:
        """The events of a call, a `CallRefused` among them, and then a `StreamEnd`. Cancelling it stops the run."""
        if call.method == "ask":
            yield await self._ask((call, source))
        else:
            async with aclosing(stepped(events_of(self._session, call, source))) as events:
                async for event in events:
                    if event is not None:
                        yield event
        yield StreamEnd()

    @serve.batch(max_batch_size=MOST_TOGETHER, batch_wait_timeout_s=TOGETHER_WITHIN_S)  # type: ignore[untyped-decorator]
    async def _ask(self, calls: list[AskCall]) -> list[BatchAnswer | CallRefused]:
        return await asyncio.to_thread(batch_answers, self._session, calls)


async def stepped(events: Generator[Any, None, None]) -> AsyncGenerator[Any, None]:
    """The same events, each computed in one thread beside the event loop; a step under way ends before it closes."""
    thread, loop = ThreadPoolExecutor(1, thread_name_prefix="events"), asyncio.get_running_loop()
    try:
        while (event := await loop.run_in_executor(thread, next, events, _END)) is not _END:
            yield event
    finally:
        thread.submit(events.close)
        thread.shutdown(wait=False)
