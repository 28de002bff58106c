"""A baseline and a reduced run as a page shows them: snapshots, not too many, from the events of both."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from vscan_core.events import Answer, Done, Event, Prefilled, Token
from vscan_core.trace import Trace

from .. import formatting
from ..ui.messages import WAITING

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

    @property
    def ended(self) -> bool:
        """Whether both runs are over."""
        return None not in self.answers

    @property
    def hint(self) -> str | None:
        """What the model has to say about the picture as a whole, if anything."""
        return next((answer.hint for answer in self.answers if answer and answer.hint), None)


def comparison_snapshots(
    events: Iterable[Event | None], pause_s: float = PAUSE_S
) -> Generator[ComparisonSnapshot, None, None]:
    """Follow the events; growing text is shown at most once per `pause_s`, everything else at once."""
    now = ComparisonSnapshot()
    yield now
    shown_at = time.monotonic()
    for event in events:
        now = _after(now, event)
        if isinstance(event, Token) and time.monotonic() - shown_at < pause_s:
            continue
        yield now
        shown_at = time.monotonic()


def _after(now: ComparisonSnapshot, event: Event | None) -> ComparisonSnapshot:
    if event is None:
        return replace(now, status=WAITING)
    run = event.run
    if isinstance(event, Prefilled):
        return replace(now, status=WRITING[run], trace=event.trace if run == REDUCED else now.trace)
    if isinstance(event, Token):
        return replace(now, texts=_with(now.texts, run, event.text))
    assert isinstance(event, Done)
    now = replace(now, texts=_with(now.texts, run, event.answer.text), answers=_with(now.answers, run, event.answer))
    return replace(now, status=_summary(now) if now.ended else STARTING[REDUCED])


def _summary(now: ComparisonSnapshot) -> str:
    total = sum(answer.timings.total_ms for answer in now.answers if answer)
    cut = " An answer was cut off at the length limit." if any(a and not a.finished for a in now.answers) else ""
    return f"The two answers took {formatting.milliseconds(total)} in total.{cut}"


def _with(pair: tuple[T, T], run: int, value: T) -> tuple[T, T]:
    return (value, pair[1]) if run == BASELINE else (pair[0], value)
