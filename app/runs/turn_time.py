"""What a turn took, in words and as numbers: its runs, the picture encoded once for all, and everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import formatting
from ..session.turn import TurnOver
from ..ui.messages import KEPT_EARLIER

KEPT_BASELINE = f" The baseline's answer is {KEPT_EARLIER}."


@dataclass(frozen=True)
class RunTime:
    """Milliseconds of one run of this turn."""

    total_ms: float
    vision_shared_ms: float  # the part of it that was measured once for all runs


@dataclass(frozen=True)
class TurnTime:
    """What the runs of a turn took together, and what else was spent between its beginning and its end."""

    shown_ms: float  # of all runs, with the picture encoded once
    other_ms: float  # preparing the inputs, warming up, drawing, updating the page
    encoded: bool  # in this turn; otherwise before it
    served: bool = False  # whether a server answered, which encoded the picture in each run


def turn_time(runs: Sequence[RunTime], over: TurnOver, served: bool = False) -> TurnTime:
    """Runs of 170 and 100 ms that share 70 ms, over after 215 ms in which the picture was encoded -> 200 and 15 ms."""
    shared = max((run.vision_shared_ms for run in runs), default=0.0)
    apart = sum(run.total_ms - run.vision_shared_ms for run in runs)
    return TurnTime(apart + shared, over.ms - apart - (shared if over.encoded else 0.0), over.encoded, served)


def turn_in_words(who: str, time: TurnTime) -> str:
    """A sentence that begins with `who` took it."""
    shown, other = map(formatting.milliseconds, (time.shown_ms, time.other_ms))
    if time.served:
        return f"{who} took {shown}, network included; other work took {other}."
    when = "" if time.encoded else " beforehand"
    return f"{who} took {shown}, the picture encoded once{when}; other work took {other}."
