"""The line in front of a device: short work first, then one address after the other, each in the order of coming."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

LATEST_WEIGHT = 0.3  # weight of the latest turn in the moving average


@dataclass(frozen=True)
class Outlook:
    """What somebody who waits can expect."""

    before: int  # who go first, including whose turn it is
    seconds: float | None  # until it is their turn; None: no turn has ended so far


@dataclass(eq=False)
class Ticket:
    """A place in a line; `leave` it whatever happens, also after one's turn."""

    line: WaitingLine
    short: bool
    round: int
    number: int

    @property
    def rank(self) -> tuple[bool, int, int]:
        """Who has the least goes first."""
        return not self.short, self.round, self.number

    def wait(self, timeout_s: float) -> bool:
        """Whether it is our turn now, at the latest after `timeout_s`."""
        return self.line.wait(self, timeout_s)

    def outlook(self) -> Outlook:
        """What we can expect."""
        return self.line.outlook(self)

    def leave(self) -> None:
        """Give the turn back, or give up."""
        self.line.leave(self)


class WaitingLine:
    """So many turns at a time as there are seats. The second turn of an address comes after the first of all others.

    Each address counts its turns, from that of the present turn on; a turn's number is its round, and the lowest round
    goes first. So 20 turns that one address asks for at once do not keep the next one waiting for more than one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, seats: int = 1) -> None:
        self._clock, self._seats = clock, seats
        self._changed = threading.Condition()
        self._waiting: list[Ticket] = []
        self._turns: dict[Ticket, float] = {}  # when each began
        self._round = 0  # of the latest turn
        self._rounds: dict[str, int] = {}  # the latest of each address, unless it lies behind
        self._joined = 0
        self._turn_s: float | None = None  # moving average

    @property
    def taken(self) -> bool:
        """Whether it is somebody's turn."""
        return bool(self._turns)

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a turn that is not short."""
        with self._changed:
            return any(not ticket.short for ticket in self._waiting)

    def join(self, address: str = "", short: bool = False) -> Ticket:
        """Get in line. `short`: takes well under a second, and goes before all that is not."""
        with self._changed:
            self._joined += 1
            number = self._round
            if not short:
                number = max(number, self._rounds.get(address, -1) + 1)
                self._rounds[address] = number
            ticket = Ticket(self, short, number, self._joined)
            self._waiting.append(ticket)
            return ticket

    def wait(self, ticket: Ticket, timeout_s: float) -> bool:
        """See `Ticket.wait`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_next(ticket), timeout_s):
                return False
            self._waiting.remove(ticket)
            self._turns[ticket] = self._clock()
            if not ticket.short:
                self._round = max(self._round, ticket.round)
                self._rounds = {who: latest for who, latest in self._rounds.items() if latest >= self._round}
            self._changed.notify_all()  # another seat may be free
            return True

    def leave(self, ticket: Ticket) -> None:
        """See `Ticket.leave`."""
        with self._changed:
            began = self._turns.pop(ticket, None)
            if began is not None:
                if not ticket.short:
                    took = self._clock() - began
                    self._turn_s = (
                        took if self._turn_s is None else self._turn_s + LATEST_WEIGHT * (took - self._turn_s)
                    )
            elif ticket in self._waiting:
                self._waiting.remove(ticket)
            self._changed.notify_all()

    def outlook(self, ticket: Ticket) -> Outlook:
        """See `Ticket.outlook`; short work counts as nothing."""
        with self._changed:
            before = sum(not other.short and other.rank < ticket.rank for other in self._waiting)
            began = [when for other, when in self._turns.items() if not other.short]
            if self._turn_s is None:
                return Outlook(before + len(began), None)
            left = max(0.0, self._turn_s - (self._clock() - min(began))) if began else 0.0
            return Outlook(before + len(began), left + before * self._turn_s / self._seats)

    def _is_next(self, ticket: Ticket) -> bool:
        return len(self._turns) < self._seats and ticket is min(
            self._waiting, key=lambda other: other.rank, default=None
        )
