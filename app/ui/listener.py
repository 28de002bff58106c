"""Whether anybody fetches what a run says: one that was posted and is not listened to computes for nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gradio.context import LocalContext

LISTENER_PAUSE_S = 0.01


class StreamListener:
    """The stream to the session that the present event belongs to, known by Gradio's messages that wait for it."""

    def __init__(self, session: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        blocks = LocalContext.blocks.get(None)
        self._pending: Any = getattr(getattr(blocks, "_queue", None), "pending_messages_per_session", None)
        self._session, self._clock = session, clock
        self._waiting = self._count()
        self._heard = clock()

    def arrives(self, within_s: float) -> bool:
        """Whether somebody listens already, or begins to within this time."""
        while self._count():
            if self._clock() - self._heard > within_s:
                return False
            time.sleep(LISTENER_PAUSE_S)
        self._heard = self._clock()
        return True

    def gone_for(self, told: bool) -> float:
        """Seconds since a message was fetched, as far as is known; `told`: one has been sent since the last call."""
        waiting, before = self._count(), self._waiting
        if not waiting or (told and waiting <= before):
            self._heard = self._clock()
        self._waiting = waiting
        return self._clock() - self._heard

    def _count(self) -> int:
        """Messages that have not been fetched; 1 if the session is gone, 0 outside of Gradio."""
        if self._pending is None or self._session is None:
            return 0
        messages = self._pending.get(self._session)
        return 1 if messages is None else int(messages.qsize())
