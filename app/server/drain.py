"""The end of a server: no new runs, answers under way finish or are told, and then the process ends."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import gradio as gr

from vscan_core.errors import InputError

DRAINING = "The server is about to restart; please try again in a minute."
CUT_OFF = "The server is restarting and could not finish this answer; please ask again in a minute."
LAST_STEP_S = 2.0  # for the step that a run is in when its time is over, and for what is on its way to browsers
LOOK_EVERY_S = 0.1
drain_log = logging.getLogger("app.drain")


class Drain:
    """Whether runs are taken, and how many are under way."""

    def __init__(self) -> None:
        self._under_way = 0
        self._changed = threading.Condition()
        self.draining = self.over = False

    def admit(self) -> None:
        """Raise InputError if no new run is taken."""
        if self.draining:
            raise InputError(DRAINING)

    def go_on(self) -> None:
        """Raise InputError if the time of runs under way is over."""
        if self.over:
            raise InputError(CUT_OFF)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """A run that is waited for."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def finish(self, limit_s: float) -> bool:
        """Take no more runs; wait for those under way, and end them after `limit_s`. Whether all could finish."""
        self.draining = True
        if self._none_left(limit_s):
            return True
        self.over = True
        self._none_left(LAST_STEP_S)
        return False

    def _count(self, change: int) -> None:
        with self._changed:
            self._under_way += change
            self._changed.notify_all()

    def _none_left(self, limit_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._under_way, limit_s)


class StopSignal:
    """SIGTERM: asked for once, the server drains; before it serves, or asked twice, the process ends at once."""

    def __init__(self) -> None:
        self.serving = self.asked = False
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked or not self.serving:
            raise SystemExit(0)
        self.asked = True  # no lock may be taken here: the main thread may hold it

    def wait(self) -> None:
        """Return when SIGTERM has come; Ctrl-C raises KeyboardInterrupt as ever."""
        self.serving = True
        while not self.asked:
            time.sleep(LOOK_EVERY_S)


def serve_until_stopped(demo: gr.Blocks, drain: Drain, stop: StopSignal, limit_s: float) -> None:
    """Keep a launched demo open until SIGTERM, then drain it; the process may end afterwards."""
    try:
        stop.wait()
        drain_log.info("draining")
        finished = drain.finish(limit_s)
        _deliver(demo)
        drain_log.info("drained" if finished else "drained: answers were cut off")
    except KeyboardInterrupt:
        drain_log.info("interrupted")
    # a step that does not return must not keep the process: its thread is not a daemon
    last = threading.Timer(LAST_STEP_S, os._exit, (0,))
    last.daemon = True
    last.start()
    demo.server.config.timeout_graceful_shutdown = 1  # the open streams of pages would keep it
    demo.close(verbose=False)


def _deliver(demo: gr.Blocks) -> None:
    """Wait until events that have been queued are over and their last messages have been taken, if that is soon."""
    queue, end = demo._queue, time.monotonic() + LAST_STEP_S
    while time.monotonic() < end:
        messages = [*queue.pending_messages_per_session.values()]
        if not len(queue) and not any(queue.active_jobs) and all(each.empty() for each in messages):
            break
        time.sleep(LOOK_EVERY_S)
    time.sleep(LOOK_EVERY_S)  # for the network
