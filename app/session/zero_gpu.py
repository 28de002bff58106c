"""Runs on ZeroGPU: each in a process of its own, to which a GPU is lent for as many seconds as the run asks for.

Models are there because that process is a fork of this one; its caches are its own, and nothing that it changes comes
back.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from .elsewhere import CallRefused, SessionCall, SessionElsewhere, events_of
from .engine import Engine
from .session import Session
from .sources import OpenedSource

START_S, LONGEST_S = 3.0, 120  # before a lent GPU computes; what a visitor can be lent at most
WEIGHTS_GB_PER_S = 4.0  # onto the lent GPU
PREFILL_S, TOKEN_S, TOKEN_S_PER_GB = 1.0, 0.01, 0.002  # per run; per token, and per token and gigabyte of weights


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
    """A call of a session about a picture or a video, and the seconds that it asks for."""

    call: SessionCall
    source: OpenedSource
    seconds: int


def seconds_of(asked: GPUCall) -> int:
    """What the scheduler of ZeroGPU is told."""
    return asked.seconds


def lent_events(asked: GPUCall) -> Generator[Any, None, None]:
    """In the process with the GPU: the events of the call."""
    yield from events_of(_session_here(), asked.call, asked.source)


class ZeroGPUSession(SessionElsewhere):
    """A session whose runs get a GPU of their own; several may run at a time."""

    def __init__(self, engine: Engine, default_model: str = "mini", **more: Any) -> None:
        super().__init__(engine, default_model, **more)
        self._lend: Callable[[GPUCall], Generator[Any, None, None]] = import_module("spaces").GPU(duration=seconds_of)(
            lent_events
        )
        _ORIGIN["session"] = self

    def _elsewhere(self, call: SessionCall, opened: OpenedSource) -> Generator[Any, None, None]:
        weights_gb = self.engine.weights_gb(self.model(call.model))
        seconds = gpu_seconds(weights_gb, call.runs, call.tokens, call.named.get("pairs_s", 0.0))
        with closing(self._lend(GPUCall(call, opened, seconds))) as events:
            for event in events:
                if isinstance(event, CallRefused):
                    raise event.reason
                yield event


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
