"""Runs on ZeroGPU: each in a process of its own, to which a GPU is lent for as many seconds as the run asks for.

What crosses between the processes is pickled: the name of a session's method, its arguments, and its events. Models
are there because that process is a fork of this one; its caches are its own, and nothing that it changes comes back.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from vscan_core.errors import InputError
from vscan_core.reducers import Reducer
from vscan_core.what_mattered import RegionsLeftOut, WhatMattered

from .engine import Engine
from .lru_cache import LRUCache
from .session import MAX_NEW_TOKENS, FirstCut, Session
from .sources import Source
from .turn import Pair, PairStarts, TurnEvent

START_S, LONGEST_S = 3.0, 120  # before a lent GPU computes; what a visitor can be lent at most
WEIGHTS_GB_PER_S = 4.0  # onto the lent GPU
PREFILL_S, TOKEN_S, TOKEN_S_PER_GB = 1.0, 0.01, 0.002  # per run; per token, and per token and gigabyte of weights
REGION_RUNS = 10  # of a short answer, as long as leaving out every region takes

Method = Literal["compare", "run_one", "pairs", "run_each", "leave_regions_out", "preview"]


def zero_gpu_is_on() -> bool:
    """Whether this is a Space on ZeroGPU."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true") and find_spec("spaces") is not None


def gpu_seconds(weights_gb: float, runs: int, tokens: int, more_s: float = 0.0) -> int:
    """Seconds to ask for: a visitor has few a day, is refused if fewer are left, and waits less for a short run.

    Args:
        weights_gb: Of the model, in gigabytes (10^9 bytes).
        runs: Answers in it, the baseline's included.
        tokens: Length limit of each.
        more_s: What else is measured.
    """
    one = PREFILL_S + tokens * (TOKEN_S + TOKEN_S_PER_GB * weights_gb)
    return min(LONGEST_S, math.ceil(START_S + weights_gb / WEIGHTS_GB_PER_S + runs * one + more_s))


@dataclass(frozen=True)
class GPUCall:
    """A method of a session and its arguments, by value."""

    method: Method
    arguments: tuple[Any, ...]
    seconds: int


@dataclass(frozen=True)
class CallRefused:
    """The method raised an InputError; another exception would lose its sentence on the way."""

    reason: InputError


def seconds_of(call: GPUCall) -> int:
    """What the scheduler of ZeroGPU is told."""
    return call.seconds


def lent_events(call: GPUCall) -> Generator[Any, None, None]:
    """In the process with the GPU: what the method yields; a result that is no generator is one event."""
    session = _session_here()
    try:
        found = getattr(session, call.method)(*_with_makers(call))
        if isinstance(found, Generator):
            with closing(found) as events:
                yield from events
        else:
            yield found
    except InputError as reason:
        yield CallRefused(reason)


class ZeroGPUSession(Session):
    """A session whose runs get a GPU of their own; several may run at a time."""

    def __init__(self, engine: Engine, default_model: str = "mini", **more: Any) -> None:
        super().__init__(engine, default_model, **more)
        self._cuts: LRUCache[FirstCut] = LRUCache(64)
        self._lend: Callable[[GPUCall], Generator[Any, None, None]] = import_module("spaces").GPU(duration=seconds_of)(
            lent_events
        )
        _ORIGIN["session"] = self

    def preview(self, model: str, source: Source, retention: float, method: str = "vscan") -> FirstCut:
        """As in Session; what was asked before takes no GPU."""
        self.engine.method(method)
        opened = self.open(source)

        def look() -> FirstCut:
            with closing(self._lent("preview", model, 0, 0, (opened, retention, method))) as events:
                found: FirstCut = next(events)
                return found

        return self._cuts.get((model, opened.digest, retention, method), look)

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
        given = self.open(source), question, retention, method, max_new_tokens, pairs_s
        return self._lent("compare", model, 2, max_new_tokens, given, pairs_s)

    def run_one(
        self, model: str, source: Source, question: str, reducer: Reducer | None, max_new_tokens: int
    ) -> Generator[TurnEvent | None, None, None]:
        """As in Session."""
        given = self.open(source), question, reducer, max_new_tokens
        return self._lent("run_one", model, 1, max_new_tokens, given)

    def pairs(
        self, model: str, source: Source, question: str, retention: float, method: str, pairs_s: float
    ) -> Generator[PairStarts | Pair | None, None, None]:
        """As in Session."""
        self.engine.method(method)
        return self._lent("pairs", model, 2, 1, (self.open(source), question, retention, method, pairs_s), pairs_s)

    def leave_regions_out(
        self, model: str, source: Source, question: str
    ) -> Generator[RegionsLeftOut | WhatMattered | None, None, None]:
        """As in Session."""
        return self._lent("leave_regions_out", model, REGION_RUNS, MAX_NEW_TOKENS, (self.open(source), question))

    def run_each(
        self, model: str, source: Source, question: str, makers: Sequence[Callable[[], Reducer]]
    ) -> Generator[TurnEvent | None, None, None]:
        """As in Session."""
        given = self.open(source), question, [_made(make) for make in makers]
        return self._lent("run_each", model, 1 + len(makers), MAX_NEW_TOKENS, given)

    def _lent(
        self, method: Method, model: str, runs: int, tokens: int, given: tuple[Any, ...], more_s: float = 0.0
    ) -> Generator[Any, None, None]:
        weights_gb = self.engine.weights_gb(self.model(model))
        call = GPUCall(method, (model, *given), gpu_seconds(weights_gb, runs, tokens, more_s))
        with closing(self._lend(call)) as events:
            for event in events:
                if isinstance(event, CallRefused):
                    raise event.reason
                yield event

    def _warm_up(self, lvlm: Any) -> None:
        """Nothing: this process has no GPU."""


_ORIGIN: dict[str, Session] = {}  # the session of the process that lends, also as its forks see it
_HERE: dict[int, Session] = {}  # {process id: its session}


def _session_here() -> Session:
    """A session with this process's own devices and caches, and the models that were loaded before the fork."""
    if os.getpid() not in _HERE:
        origin = _ORIGIN["session"]
        own = Session(origin.engine, origin.default_model, origin.visits.fair)
        own.models = origin.models
        _HERE[os.getpid()] = own
    return _HERE[os.getpid()]


def _made(make: Callable[[], Reducer]) -> Reducer | InputError:
    try:
        return make()
    except InputError as reason:
        return reason


def _with_makers(call: GPUCall) -> tuple[Any, ...]:
    """The arguments; of run_each with makers again, so that a method that cannot run is refused in its place."""
    if call.method != "run_each":
        return call.arguments
    *first, made = call.arguments

    def maker(found: Reducer | InputError) -> Callable[[], Reducer]:
        def make() -> Reducer:
            if isinstance(found, InputError):
                raise found
            return found

        return make

    return *first, [maker(found) for found in made]
