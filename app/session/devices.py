"""One run at a time per device, every step of it in one and the same thread.

The web server calls each step of a generator in whichever thread is free, but torch keeps its modes per thread, so
the steps of a run are handed to the device's own thread. Replicas, whose runs happen in other processes, count as one
device with a seat for each.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

from vscan_core.errors import InputError

from .line import Ticket, WaitingLine
from .visitors import VISIT

T = TypeVar("T")

_END = object()
FIRST_WAIT_S, WAIT_S = 0.1, 0.5  # until somebody who waits is told about it, and between two times
BUSY = "The model is still busy with another question; please try again in a moment."


class Device:
    """A line that says whose turn it is, and the thread in which the work is done."""

    def __init__(self, name: str, seats: int = 1) -> None:
        self.name = name
        self._line = WaitingLine(seats=seats)
        self._thread = ThreadPoolExecutor(seats, thread_name_prefix=f"run on {name}")

    @property
    def busy(self) -> bool:
        """Whether somebody's turn is under way."""
        return self._line.taken

    @property
    def wanted(self) -> bool:
        """Whether a run waits for its turn."""
        return self._line.wanted

    def call(self, work: Callable[[], T], patience_s: float) -> T:
        """Do a short piece of work, before any run that waits; refuse after `patience_s` of waiting."""
        ticket = self._line.join(short=True)
        try:
            if not ticket.wait(patience_s):
                raise InputError(BUSY)
            return self._thread.submit(work).result()
        finally:
            ticket.leave()

    def steps(self, start: Callable[[], Generator[T, None, None]]) -> Generator[T | None, None, None]:
        """Run a generator step by step; None while it waits for its turn.

        Closing this generator closes the inner one, in the device's thread, and gives the turn back: that is Stop.
        """
        visit = VISIT.get()
        ticket = self._line.join(visit.visitor.address if visit else "")
        try:
            with closing(self._turn_of(ticket)) as waiting:
                yield from waiting
            inner = self._thread.submit(start).result()
            try:
                while (step := self._thread.submit(next, inner, _END).result()) is not _END:
                    yield step  # type: ignore[misc]
            finally:
                self._thread.submit(inner.close).result()
        finally:
            ticket.leave()

    def _turn_of(self, ticket: Ticket) -> Generator[None, None, None]:
        """None, again and again, until it is our turn; the visit knows what to expect meanwhile."""
        visit, patience_s = VISIT.get(), FIRST_WAIT_S
        try:
            while not ticket.wait(patience_s):
                patience_s = WAIT_S
                if visit:
                    visit.outlook = ticket.outlook()
                yield
        finally:
            if visit:
                visit.outlook = None
