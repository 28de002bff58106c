"""One run at a time per device, every step of it in one and the same thread.

The web server calls each step of a generator in whichever thread is free, but torch keeps its modes per thread, so
the steps of a run are handed to the device's own thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from vscan_core.errors import InputError

T = TypeVar("T")

_END = object()
BUSY = "The model is still busy with another question; please try again in a moment."


class Device:
    """A lock that says whose turn it is, and the thread in which the work is done."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()  # not an RLock: taken and released in different threads
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"run on {name}")

    @property
    def busy(self) -> bool:
        """Whether somebody's turn is under way."""
        return self._lock.locked()

    def call(self, work: Callable[[], T], patience_s: float) -> T:
        """Do a short piece of work when it is our turn; refuse after `patience_s` of waiting."""
        if not self._lock.acquire(timeout=patience_s):
            raise InputError(BUSY)
        try:
            return self._thread.submit(work).result()
        finally:
            self._lock.release()

    def steps(self, start: Callable[[], Generator[T, None, None]]) -> Generator[T | None, None, None]:
        """Run a generator step by step; None while it waits for its turn.

        Closing this generator closes the inner one, in the device's thread, and gives the turn back: that is Stop.
        """
        while not self._lock.acquire(timeout=0.1):
            yield None
        try:
            inner = self._thread.submit(start).result()
            try:
                while (step := self._thread.submit(next, inner, _END).result()) is not _END:
                    yield step  # type: ignore[misc]
            finally:
                self._thread.submit(inner.close).result()
        finally:
            self._lock.release()
