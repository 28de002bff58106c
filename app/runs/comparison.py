"""A baseline and a reduced run as a page shows them: snapshots, not too many, from the events of both."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from time import monotonic
from typing import TypeVar

from vscan_core.events import Answer, Done, Event, Prefilled, Token
from vscan_core.trace import Trace

from ..session.turn import KeptDone, TurnOver
from ..ui.messages import WAITING
from .turn_time import KEPT_BASELINE, RunTime, TurnTime, turn_in_words, turn_time

T = TypeVar("T")

PAUSE_S = 0.06  # between two snapshots of growing text
BASELINE, REDUCED = 0, 1
STARTING = ("Reading the picture and the question with all visual tokens …", "Now with fewer visual tokens …")
WRITING = ("Writing the answer with all visual tokens …", "Writing the answer with fewer visual tokens …")


@dataclass(frozen=True)
class ComparisonSnapshot:
    """Both runs at one moment. Pairs are (baseline, reduced)."""

    status: str = STARTING[0]
    texts: tuple[str, str] = ("", "")
    answers: tuple[Answer | None, Answer | None] = (None, None)
    trace: Trace | None = None  # of the reduced run, once its prompt has been read
    kept: bool = False  # whether the baseline's answer is that of an earlier turn
    time: TurnTime | None = None  # once both runs are over

    @property
    def ended(self) -> bool:
        """Whether both runs are over."""
        return self.time is not None

    @property
    def hint(self) -> str | None:
        """What the model has to say about the picture as a whole, if anything."""
        return next((answer.hint for answer in self.answers if answer and answer.hint), None)


def comparison_snapshots(
    events: Iterable[Event | TurnOver | None], pause_s: float = PAUSE_S
) -> Generator[ComparisonSnapshot, None, None]:
    """Follow the events; growing text is shown at most once per `pause_s`, everything else at once."""
    now = ComparisonSnapshot()
    yield now
    shown_at = monotonic()
    for event in events:
        now = _after(now, event)
        if isinstance(event, Token) and monotonic() - shown_at < pause_s:
            continue
        yield now
        shown_at = monotonic()


def _after(now: ComparisonSnapshot, event: Event | TurnOver | None) -> ComparisonSnapshot:
    if event is None:
        return replace(now, status=WAITING)
    if isinstance(event, TurnOver):
        return _over(now, event)
    run = event.run
    if isinstance(event, Prefilled):
        return replace(now, status=WRITING[run], trace=event.trace if run == REDUCED else now.trace)
    if isinstance(event, Token):
        return replace(now, texts=_with(now.texts, run, event.text))
    assert isinstance(event, Done)
    now = replace(now, texts=_with(now.texts, run, event.answer.text), answers=_with(now.answers, run, event.answer))
    if run == REDUCED:
        return now
    return replace(now, status=STARTING[REDUCED], kept=isinstance(event, KeptDone))


def _over(now: ComparisonSnapshot, event: TurnOver) -> ComparisonSnapshot:
    ran = [answer.timings for answer in now.answers[REDUCED if now.kept else BASELINE :] if answer]
    time = turn_time([RunTime(timings.total_ms, timings.vision_shared_ms) for timings in ran], event)
    status = turn_in_words("The answer with fewer visual tokens" if now.kept else "The two answers", time)
    cut = " An answer was cut off at the length limit." if any(a and not a.finished for a in now.answers) else ""
    return replace(now, status=f"{status}{KEPT_BASELINE if now.kept else ''}{cut}", time=time)


def _with(pair: tuple[T, T], run: int, value: T) -> tuple[T, T]:
    return (value, pair[1]) if run == BASELINE else (pair[0], value)
