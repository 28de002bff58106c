"""How much of this server one visitor may use. Every limit has a default that a visitor with a browser never meets."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from vscan_core.errors import InputError

TOO_OFTEN = "You have started {most} {what} within a minute; please go on in {wait} s."


@dataclass(frozen=True)
class FairUse:
    """The limits. An address is a network address; many visitors may share one, behind a router or a proxy."""

    runs: int = 2  # of one visitor: one under way, one waiting
    runs_of_programs: int = 8  # of all programs of one address that name no session
    runs_per_address: int = 64  # under way or waiting
    runs_per_minute: int = 60  # of one visitor
    runs_per_minute_and_address: int = 600
    queued: int = 30  # events of one visitor that wait in Gradio's queue, previews above all
    queued_per_address: int = 300
    answer_s: float = 300.0  # wall-clock time of one answer, the picture's encoding included
    listener_s: float = 5.0  # for which a run goes on although nobody fetches its results
    uploads_per_minute: int = 60  # of one address, as for all that follows
    upload_bytes: int = 300_000_000  # that are kept for one address
    all_upload_bytes: int = 2_000_000_000  # in the folder of uploads, everything counted
    upload_kept_s: float = 7200.0  # after which Gradio has deleted an upload


class Rates:
    """Counts what happens within a minute, by kind and by who does it."""

    def __init__(self) -> None:
        self._counts = MovingWindowRateLimiter(MemoryStorage())

    def count(self, what: str, who: str, most: int) -> None:
        """One more of `what`, a plural. Raises InputError, and counts nothing, if there were `most` already."""
        limit = RateLimitItemPerMinute(most)
        if not self._counts.hit(limit, what, who):
            reset = self._counts.get_window_stats(limit, what, who).reset_time
            wait = max(1, math.ceil(reset - time.time()))
            raise InputError(TOO_OFTEN.format(most=most, what=what, wait=wait))
