"""Connections on which nobody asks anything: the web server itself would keep those whose first request never ends."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from .limits import DoorLimits

WATCH_EVERY_S = 1.0


@dataclass(frozen=True)
class IdleConnection:
    """Between two requests, or before the first one. `connection` is uvicorn's, `latest` its latest request or None."""

    connection: Any
    latest: Any
    since: float

    @property
    def address(self) -> str:
        """Whose it is."""
        return str(self.connection.client[0]) if self.connection.client else ""

    def close(self) -> None:
        """Unless it has got a request meanwhile."""
        latest = self.connection.cycle
        if latest is self.latest and (latest is None or latest.response_complete):
            self.connection.transport.abort()


class ConnectionWatch:
    """Finds connections that wait too long for a request, and those of an address that has too many idle ones."""

    def __init__(self, limits: DoorLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._idle: dict[Any, IdleConnection] = {}

    def to_close(self, connections: Iterable[Any]) -> list[IdleConnection]:
        """Those that have to go now; call it again and again."""
        now, before, self._idle = self._clock(), self._idle, {}
        for each in connections:
            latest = each.cycle
            if latest is None or latest.response_complete:
                known = before.get(each)
                same = known is not None and known.latest is latest
                self._idle[each] = known if known and same else IdleConnection(each, latest, now)
        numbers: Counter[str] = Counter()
        found = []
        for idle in sorted(self._idle.values(), key=lambda idle: idle.since):
            numbers[idle.address] += 1
            if now - idle.since > self._limits.idle_seconds or numbers[idle.address] > self._limits.idle_per_address:
                found.append(idle)
        return found


def close_idle_connections(demo: gr.Blocks, limits: DoorLimits | None = None) -> None:
    """From now on, as long as a launched demo is open; in a thread of its own."""
    watch, server = ConnectionWatch(limits or DoorLimits()), demo.server

    def keep_watching() -> None:
        while not server.should_exit:
            for idle in watch.to_close(list(server.server_state.connections)):
                idle.connection.loop.call_soon_threadsafe(idle.close)
            time.sleep(WATCH_EVERY_S)

    threading.Thread(target=keep_watching, name="closes idle connections", daemon=True).start()
