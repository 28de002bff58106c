"""Who asks: how many runs one visitor may have at once, and which visit the present step belongs to."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from vscan_core.errors import InputError

from .line import Outlook
from .quotas import FairUse, Rates

T = TypeVar("T")

TOO_MANY_RUNS = "You have a run under way and another one waiting; please wait until one has ended, or stop it."
TOO_MANY_PROGRAMS = "The programs of your network have enough runs under way; please wait until one has ended."
CROWDED = "Too many runs of your network are waiting; please try again in a minute."
PROGRAM = "program-"  # how the sessions of programs begin that name none
LONGEST_NAME = 64  # characters; a browser makes 11
_END = object()


@dataclass(frozen=True)
class Visitor:
    """A page or a program. It chooses the name of its session itself, and so may have many; its address it has not."""

    session: str = ""
    address: str = ""


@dataclass
class Visit:
    """One run of a visitor."""

    visitor: Visitor
    outlook: Outlook | None = None  # while it waits for its device


# set while a step of a run is asked for, in the thread that asks: the device reads from it who waits
VISIT: ContextVar[Visit | None] = ContextVar("visit", default=None)


def program_session() -> str:
    """A session for one call of a program that has named none: nobody can guess it."""
    return PROGRAM + secrets.token_hex(16)


def visitor_name(session: str | None) -> str:
    """Whose session it is: that of a page for itself, those of programs that named none for one visitor together."""
    return PROGRAM if session and session.startswith(PROGRAM) else (session or "")[:LONGEST_NAME]


class Visits:
    """Bounds what each visitor has under way."""

    def __init__(self, fair: FairUse | None = None) -> None:
        self.fair = fair or FairUse()
        self._rates = Rates()
        self._lock = threading.Lock()
        self._visitors: Counter[Visitor] = Counter()
        self._addresses: Counter[str] = Counter()

    @contextmanager
    def run(self, visitor: Visitor) -> Iterator[Visit]:
        """A run counts as long as this lasts. Raises InputError if the visitor has too many already, or too often."""
        self._enter(visitor)
        try:
            self._rates.count("runs", f"{visitor.address} {visitor.session}", self.fair.runs_per_minute)
            self._rates.count("runs", visitor.address, self.fair.runs_per_minute_and_address)
            yield Visit(visitor)
        finally:
            self._leave(visitor)

    def under_way(self) -> int:
        """How many runs there are, waiting ones included."""
        with self._lock:
            return self._visitors.total()

    def _enter(self, visitor: Visitor) -> None:
        with self._lock:
            if visitor.session == PROGRAM:
                if self._visitors[visitor] >= self.fair.runs_of_programs:
                    raise InputError(TOO_MANY_PROGRAMS)
            elif self._visitors[visitor] >= self.fair.runs:
                raise InputError(TOO_MANY_RUNS)
            if self._addresses[visitor.address] >= self.fair.runs_per_address:
                raise InputError(CROWDED)
            self._visitors[visitor] += 1
            self._addresses[visitor.address] += 1

    def _leave(self, visitor: Visitor) -> None:
        with self._lock:
            self._visitors[visitor] -= 1
            self._addresses[visitor.address] -= 1
            self._visitors, self._addresses = +self._visitors, +self._addresses  # those at zero go


def steps_in_visit(visit: Visit, steps: Generator[T, None, None]) -> Generator[T, None, None]:
    """The same steps; each is asked for in the name of this visit, whichever thread asks. Closing closes `steps`."""
    try:
        while True:
            token = VISIT.set(visit)
            try:
                step = next(steps, _END)
            finally:
                VISIT.reset(token)
            if step is _END:
                return
            yield step  # type: ignore[misc]
    finally:
        steps.close()
