"""Sees every run: counts it, writes a log line, and ends it when the server drains."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar

from vscan_core import LVLM
from vscan_core.errors import InputError, OutOfMemory
from vscan_core.events import Done

from ..session.engine import Engine
from ..session.offer import OfferedEngine
from ..session.session import FirstCut, Session
from ..session.turn import KeptDone
from ..session.zero_gpu import ZeroGPUSession
from ..ui.faults import MEMORY, fault_kind, let_go
from .drain import Drain
from .metrics import Meters

T = TypeVar("T")
run_log = logging.getLogger("app.runs")


class MeteredEngine(OfferedEngine):
    """An engine that offers what the operator allows, and counts loads that fail."""

    def __init__(self, meters: Meters, allowed: Collection[str] | None = None, public: bool = False) -> None:
        super().__init__(allowed, public)
        self._meters = meters

    def load(self, name: str) -> LVLM:
        """See OfferedEngine."""
        try:
            return super().load(name)
        except Exception as error:
            self._meters.failed(error, "model")
            raise


class WatchedSession(Session):
    """A session whose runs are counted, and end when the server drains."""

    def __init__(self, engine: Engine, default_model: str, meters: Meters, drain: Drain, **more: Any) -> None:
        super().__init__(engine, default_model, **more)
        self._meters, self._drain = meters, drain
        meters.watch_models(engine.models(), self.models.ready)

    def preview(self, *args: Any, **named: Any) -> FirstCut:
        """As in Session."""
        with self._counted():
            return super().preview(*args, **named)

    def compare(self, model: str, *args: Any, **named: Any) -> Generator[Any, None, None]:
        """As in Session."""
        return self._watched(model, lambda: super(WatchedSession, self).compare(model, *args, **named))

    def run_one(self, model: str, *args: Any, **named: Any) -> Generator[Any, None, None]:
        """As in Session."""
        return self._watched(model, lambda: super(WatchedSession, self).run_one(model, *args, **named))

    def pairs(self, model: str, *args: Any, **named: Any) -> Generator[Any, None, None]:
        """As in Session."""
        return self._watched(model, lambda: super(WatchedSession, self).pairs(model, *args, **named))

    def run_each(self, model: str, *args: Any, **named: Any) -> Generator[Any, None, None]:
        """As in Session."""
        return self._watched(model, lambda: super(WatchedSession, self).run_each(model, *args, **named))

    def leave_regions_out(self, model: str, *args: Any, **named: Any) -> Generator[Any, None, None]:
        """As in Session."""
        return self._watched(model, lambda: super(WatchedSession, self).leave_regions_out(model, *args, **named))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._failed(error)
            raise

    def _failed(self, error: Exception) -> None:
        self._meters.failed(error)
        if fault_kind(error) == MEMORY:
            let_go(error)

    def _watched(self, model: str, start: Callable[[], Generator[T, None, None]]) -> Generator[T, None, None]:
        if self._drain.draining:
            self._meters.refused("draining")
        self._drain.admit()
        with self._counted():
            events = start()
        return self._followed(model, events)

    def _followed(self, model: str, events: Generator[T, None, None]) -> Generator[T, None, None]:
        run, end = _RunWatch(self._meters, model), "done"
        try:
            with closing(events), self._drain.under_way():
                for event in events:
                    run.saw(event)
                    self._drain.go_on()
                    yield event
        except GeneratorExit:
            end = "left"
            raise
        except Exception as error:
            self._failed(error)
            end = "refused" if isinstance(error, InputError) and not isinstance(error, OutOfMemory) else "failed"
            raise
        finally:
            run.over(end)


class WatchedZeroGPUSession(WatchedSession, ZeroGPUSession):
    """A watched session whose runs get a GPU of their own."""


class _RunWatch:
    """One run: how long it waits and works, and the answers in it."""

    def __init__(self, meters: Meters, model: str) -> None:
        self._meters, self._model = meters, model
        self._begun = time.monotonic()
        self._waited_s: float | None = None  # None: it waits
        meters.count("waiting", 1)

    def saw(self, event: object) -> None:
        """A step; None: still waiting."""
        if event is None:
            return
        if self._waited_s is None:
            self._waited_s = time.monotonic() - self._begun
            self._meters.waited(self._waited_s)
            self._meters.count("waiting", -1)
            self._meters.count("running", 1)
        self._meters.step()
        if isinstance(event, Done) and not isinstance(event, KeptDone):
            answer = event.answer
            self._meters.answered(answer)
            tokens = sum(image.tokens for image in answer.trace.images)
            about = {"model": self._model, "method": answer.method, "ms": round(answer.timings.total_ms, 1)}
            kept = {"tokens_in": tokens, "tokens_kept": round(answer.cost.visual_tokens, 1)}
            run_log.info("answer", extra=about | kept)

    def over(self, end: str) -> None:
        """The run has ended, one way or another."""
        self._meters.count("waiting" if self._waited_s is None else "running", -1)
        self._meters.ended(self._model, end)
        spent, waited = time.monotonic() - self._begun, self._waited_s or 0.0
        about = {"model": self._model, "end": end, "ms": round(1000 * spent), "waited_ms": round(1000 * waited)}
        run_log.info("run", extra=about)
