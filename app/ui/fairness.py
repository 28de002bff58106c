"""Runs as visitors ask for them: bounded for each, ended when nobody listens, and quiet while they wait in line."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import TypeVar

import gradio as gr

from ..session.line import Outlook
from ..session.visitors import Visitor, Visits, steps_in_visit, visitor_name
from .errors import log
from .listener import StreamListener

T = TypeVar("T")

QUIET_SHARE = 0.1  # of the time that is left, between two words about it
SHORTEST_QUIET_S, LONGEST_QUIET_S = 1.0, 5.0  # Gradio notices only when something is said that a visitor has left


def visitor_of(request: gr.Request | None) -> Visitor:
    """Who asks, as far as is known."""
    if request is None:
        return Visitor()
    address = getattr(request.client, "host", None) if request.request is not None else None
    return Visitor(visitor_name(request.session_hash), str(address or ""))


def visiting(
    visits: Visits,
    request: gr.Request | None,
    start: Callable[[], Generator[T, None, None]],
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[tuple[T, Outlook | None], None, None]:
    """The steps of a run, each with what to expect while it waits for its device, else None. Closing it stops the run.

    It ends when it is `stopped` or nobody listens. Raises InputError if the visitor has too many runs under way, or
    starts too many.
    """
    with visits.run(visitor_of(request)) as visit:
        listener = StreamListener(request.session_hash if request is not None else None)
        if not listener.arrives(visits.fair.listener_s):
            log.info("a run was not started: nobody listens")
            return
        with closing(steps_in_visit(visit, start())) as steps:
            quiet, told = Quiet(), True
            for step in steps:
                if stopped():
                    return
                if listener.gone_for(told) > visits.fair.listener_s:
                    log.info("a run was ended: nobody listens")
                    return
                told = quiet.says(visit.outlook)
                if told:
                    yield step, visit.outlook


class Quiet:
    """While a run waits, most of its steps say little that is new, and each costs the server and the page some work."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = -math.inf

    def says(self, outlook: Outlook | None) -> bool:
        """Whether this step is worth sending: while it waits, the more often the sooner its turn comes."""
        now = self._clock()
        if outlook is None:
            self._at = -math.inf
            return True
        left_s = outlook.seconds if outlook.seconds is not None else LONGEST_QUIET_S / QUIET_SHARE
        if now - self._at < min(max(QUIET_SHARE * left_s, SHORTEST_QUIET_S), LONGEST_QUIET_S):
            return False
        self._at = now
        return True


def waiting_words(outlook: Outlook) -> str:
    """A place in line and an estimate, for the status."""
    if outlook.seconds is None:
        return f"Waiting: {outlook.before} before you …"
    return f"Waiting: {outlook.before} before you, about {max(1, math.ceil(outlook.seconds))} s …"
