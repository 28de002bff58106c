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

TOLD_AGAIN_S = 2.0  # while nothing has changed; Gradio notices only then that a visitor has left


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
    """While a run waits, most of its steps say nothing new; a page would be busy with them all the same."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._words, self._at = "", -math.inf

    def says(self, outlook: Outlook | None) -> bool:
        """Whether this step is worth sending."""
        words, now = waiting_words(outlook) if outlook else "", self._clock()
        if words and words == self._words and now - self._at < TOLD_AGAIN_S:
            return False
        self._words, self._at = words, now
        return True


def waiting_words(outlook: Outlook) -> str:
    """A place in line and an estimate, for the status."""
    if outlook.seconds is None:
        return f"Waiting: {outlook.before} before you …"
    return f"Waiting: {outlook.before} before you, about {max(1, math.ceil(outlook.seconds))} s …"
