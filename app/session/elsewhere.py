"""A session whose runs another process computes: what is asked and what comes back cross by value.

What crosses is the name of a session's method, its arguments, and its events, all of which can be pickled.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

from vscan_core.batched import BatchAnswer
from vscan_core.errors import InputError
from vscan_core.reducers import Reducer
from vscan_core.what_mattered import RegionsLeftOut, WhatMattered

from .engine import Engine
from .first_cut import FirstCut
from .lru_cache import LRUCache
from .session import MAX_NEW_TOKENS, Session
from .sources import OpenedSource, Source
from .turn import Pair, PairStarts, TurnEvent

REGION_RUNS = 10  # of a short answer, as long as leaving out every region takes

SessionMethod = Literal[
    "compare", "run_one", "pairs", "run_each", "leave_regions_out", "ask", "preview", "prompt_tokens", "probe"
]


@dataclass(frozen=True)
class SessionCall:
    """A method of a session and its arguments but for the picture, and how much it asks for."""

    method: SessionMethod
    model: str
    given: tuple[Any, ...] = ()  # after the model and the picture
    named: Mapping[str, Any] = field(default_factory=dict)
    runs: int = 0  # answers in it, the baseline's included
    tokens: int = 0  # length limit of each


@dataclass(frozen=True)
class CallRefused:
    """The method raised an InputError; another exception would lose its sentence on the way."""

    reason: InputError


class RunLost(Exception):
    """The process that computed a run has ended before the run did."""


def events_of(session: Session, call: SessionCall, source: OpenedSource) -> Generator[Any, None, None]:
    """In the process that computes: what the method yields; a result that is no generator is one event."""
    given = _with_makers(*call.given) if call.method == "run_each" else call.given
    try:
        found = getattr(session, call.method)(call.model, source, *given, **call.named)
        if isinstance(found, Generator):
            with closing(found) as events:
                yield from events
        else:
            yield found
    except InputError as reason:
        yield CallRefused(reason)


class SessionElsewhere(Session):
    """Pictures are opened here, and what a visitor sees first is kept here; everything else is asked elsewhere."""

    def __init__(self, engine: Engine, default_model: str = "mini", **more: Any) -> None:
        super().__init__(engine, default_model, **more)
        self._cuts: LRUCache[FirstCut] = LRUCache(64)

    def _elsewhere(self, call: SessionCall, opened: OpenedSource) -> Generator[Any, None, None]:
        """The events of a call about a picture or a video; an InputError elsewhere is raised here."""
        raise NotImplementedError

    def _warm_up(self, lvlm: Any) -> None:
        """Nothing: nothing runs here."""

    def preview(
        self, model: str, source: Source, retention: float, method: str = "vscan", question: str = ""
    ) -> FirstCut:
        """As in Session; what was asked before is not asked again."""
        reads = self.engine.method(method)(retention).needs(self.model(model).anatomy).joint
        opened, asked = self.open(source), question if reads else ""

        def look() -> FirstCut:
            found: FirstCut = self._one(SessionCall("preview", model, (retention, method, asked)), opened)
            return found

        return self._cuts.get((model, opened.digest, retention, method, asked), look)

    def compare(
        self,
        model: str,
        source: Source,
        question: str,
        retention: float,
        method: str = "vscan",
        max_new_tokens: int = MAX_NEW_TOKENS,
        pairs_s: float = 0.0,
    ) -> Generator[TurnEvent | None, None, None]:
        """As in Session."""
        self.engine.method(method)
        opened, given = self.open(source), (question, retention, method, max_new_tokens)
        named = {"pairs_s": pairs_s}
        return self._elsewhere(SessionCall("compare", model, given, named, runs=2, tokens=max_new_tokens), opened)

    def run_one(
        self, model: str, source: Source, question: str, reducer: Reducer | None, max_new_tokens: int
    ) -> Generator[TurnEvent | None, None, None]:
        """As in Session."""
        opened, given = self.open(source), (question, reducer, max_new_tokens)
        return self._elsewhere(SessionCall("run_one", model, given, runs=1, tokens=max_new_tokens), opened)

    def pairs(
        self, model: str, source: Source, question: str, retention: float, method: str, pairs_s: float
    ) -> Generator[PairStarts | Pair | None, None, None]:
        """As in Session."""
        self.engine.method(method)
        opened, given, named = self.open(source), (question, retention, method), {"pairs_s": pairs_s}
        return self._elsewhere(SessionCall("pairs", model, given, named, runs=2, tokens=1), opened)

    def leave_regions_out(
        self, model: str, source: Source, question: str
    ) -> Generator[RegionsLeftOut | WhatMattered | None, None, None]:
        """As in Session."""
        call = SessionCall("leave_regions_out", model, (question,), runs=REGION_RUNS, tokens=MAX_NEW_TOKENS)
        return self._elsewhere(call, self.open(source))

    def run_each(
        self, model: str, source: Source, question: str, makers: Sequence[Callable[[], Reducer]]
    ) -> Generator[TurnEvent | None, None, None]:
        """As in Session."""
        opened, given = self.open(source), (question, [_made(make) for make in makers])
        call = SessionCall("run_each", model, given, runs=1 + len(makers), tokens=MAX_NEW_TOKENS)
        return self._elsewhere(call, opened)

    def ask(
        self, model: str, source: Source, question: str, reducer: Reducer | None, max_new_tokens: int = MAX_NEW_TOKENS
    ) -> Generator[BatchAnswer | None, None, None]:
        """As in Session."""
        opened, given = self.open(source), (question, reducer, max_new_tokens)
        return self._elsewhere(SessionCall("ask", model, given, runs=1, tokens=max_new_tokens), opened)

    def _one(self, call: SessionCall, opened: OpenedSource) -> Any:
        """The only event of a call; None if it has none."""
        with closing(self._elsewhere(call, opened)) as events:
            return next(iter([event for event in events if event is not None]), None)


def _made(make: Callable[[], Reducer]) -> Reducer | InputError:
    try:
        return make()
    except InputError as reason:
        return reason


def _with_makers(question: str, made: Sequence[Reducer | InputError]) -> tuple[str, list[Callable[[], Reducer]]]:
    """The same with makers, so that a method that cannot run is refused in its place."""

    def maker(found: Reducer | InputError) -> Callable[[], Reducer]:
        def make() -> Reducer:
            if isinstance(found, InputError):
                raise found
            return found

        return make

    return question, [maker(found) for found in made]
