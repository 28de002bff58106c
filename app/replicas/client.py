"""Calls of the replicas from the web server: streams that end with a mark, or with a sentence."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from vscan_core.errors import InputError

from ..session.elsewhere import CallRefused, RunLost, SessionCall
from ..session.lru_cache import LRUCache
from ..session.sources import OpenedSource
from .replica import ModelFacts, StreamEnd

WORD_EVERY_S = 0.5  # while nothing arrives
FACTS_S = 120.0  # in which a replica has to answer
_END = object()


class Replicas:
    """The deployment, as the web server sees it."""

    def __init__(self, handle: DeploymentHandle[Any], most: int, silence_s: float) -> None:
        """`most` replicas at a time; `silence_s`: seconds without an event after which a run counts as lost."""
        self.most, self.silence_s = most, silence_s
        self._handle = handle
        self._pictures: LRUCache[Any] = LRUCache(8)  # references: a picture is sent once for all its runs

    def facts(self) -> ModelFacts:
        """Of the model that they serve. Raises InputError if no replica answers."""
        try:
            found: ModelFacts = self._handle.facts.remote().result(timeout_s=FACTS_S)
        except (TimeoutError, RayError, RayServeException) as error:
            raise InputError(f"No replica has answered within {FACTS_S:g} s.") from error
        return found

    def events(self, call: SessionCall, opened: OpenedSource) -> Generator[Any, None, None]:
        """The events of a call; None, twice a second, until the first one is there. Closing it stops the run.

        A call that is lost before its first event is made once more. Raises the InputError that the replica raises, or
        RunLost if it ends before the run does.
        """
        for last_try in (False, True):
            begun = False
            try:
                with closing(self._events(call, opened)) as events:
                    for event in events:
                        begun = begun or event is not None
                        yield event
                return
            except RunLost:
                if begun or last_try:
                    raise

    def _events(self, call: SessionCall, opened: OpenedSource) -> Generator[Any, None, None]:
        thread, response = ThreadPoolExecutor(1, thread_name_prefix="replica"), None
        try:
            picture = self._pictures.get(opened.digest, lambda: ray.put(opened))
            response = self._handle.options(stream=True).events.remote(call, picture)
            yield from self._arriving(lambda: thread.submit(next, response, _END))
        except RayTaskError:  # a fault of ours, in the replica
            raise
        except (RayServeException, RayError) as error:
            raise RunLost from error
        finally:
            if response is not None:
                response.cancel()  # also wakes the thread
            thread.shutdown(wait=False)

    def _arriving(self, ask: Callable[[], Future[Any]]) -> Generator[Any, None, None]:
        """What each `ask` brings, until the mark."""
        begun = False
        while True:
            coming, since = ask(), time.monotonic()
            while not wait([coming], WORD_EVERY_S).done:
                if time.monotonic() - since > self.silence_s:
                    raise RunLost
                if not begun:
                    yield None
            match coming.result():
                case StreamEnd():
                    return
                case CallRefused(reason):
                    raise reason
                case event if event is _END:
                    raise RunLost  # without the mark
                case event:
                    begun = True
                    yield event
