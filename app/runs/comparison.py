"""A baseline and a reduced run as a page shows them: snapshots, not too many, from the events of both."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TypeVar

from vscan_core.events import Answer, Done, Prefilled, Token
from vscan_core.multirun import Refused
from vscan_core.trace import Trace

from ..session.turn import KeptDone, OthersWait, Pair, PairStarts, TurnEvent, TurnOver
from ..ui.messages import APPEARS_HERE, MEANINGLESS_TEXT, NO_WORDS, WAITING
from .turn_time import KEPT_BASELINE, RunTime, TurnTime, turn_in_words, turn_time

T = TypeVar("T")

PAUSE_S = 0.06  # between two snapshots of growing text
BASELINE, REDUCED = 0, 1
STARTING = ("Reading the picture and the question with all visual tokens …", "Now with fewer visual tokens …")
WRITING = ("Writing the answer with all visual tokens …", "Writing the answer with fewer visual tokens …")
REPEATING = "Measuring both again …"


@dataclass(frozen=True)
class LiveRun:
    """A run while it goes on, by the clock of the server; its own timings replace these once it has ended."""

    started_s: float | None = None
    first_s: float | None = None  # from its start to the end of prefill
    tokens: int = 0
    last_s: float = 0.0  # from the first token to the latest
    lengths: tuple[int, ...] = ()  # characters of the answer after each token

    @property
    def per_second(self) -> float | None:
        """Tokens per second after the first; None while there is none."""
        return (self.tokens - 1) / self.last_s if self.tokens > 1 and self.last_s > 0 else None


@dataclass(frozen=True)
class ComparisonSnapshot:
    """Both runs at one moment. Pairs of fields are (baseline, reduced)."""

    status: str = STARTING[0]
    texts: tuple[str, str] = ("", "")
    answers: tuple[Answer | None, Answer | None] = (None, None)
    live: tuple[LiveRun, LiveRun] = field(default=(LiveRun(), LiveRun()))
    trace: Trace | None = None  # of the reduced run, once its prompt has been read
    kept: bool = False  # whether the baseline's answer is that of an earlier turn
    pairs: tuple[Pair, ...] = ()  # both runs measured one right after the other
    others_wait: bool = False  # so that no more pairs were measured
    time: TurnTime | None = None  # once both runs are over

    @property
    def ended(self) -> bool:
        """Whether both runs are over."""
        return self.time is not None

    @property
    def hint(self) -> str | None:
        """What the model has to say about the picture as a whole, if anything."""
        return next((answer.hint for answer in self.answers if answer and answer.hint), None)

    @property
    def notes(self) -> str:
        """That, how the answers came about, and which server answered, if one did."""
        told = [sentence for answer in self.answers if answer for sentence in (*answer.notes, *answer.server)]
        return "\n\n".join(dict.fromkeys(filter(None, (self.hint, *told))))

    def words(self, readable: bool) -> list[tuple[str, str]]:
        """For each run its text so far, and what stands in its place while there is none.

        Texts that are not `readable` (random weights) are left out.
        """
        texts = self.texts if readable else ("", "")
        instead = [
            MEANINGLESS_TEXT if not readable else NO_WORDS if answer else APPEARS_HERE for answer in self.answers
        ]
        return list(zip(texts, instead, strict=True))

    @property
    def going(self) -> int | None:
        """Which run goes on, or None."""
        if None not in self.answers:
            return None
        place = REDUCED if self.answers[BASELINE] else BASELINE
        return place if self.live[place].started_s is not None else None


def comparison_snapshots(
    events: Iterable[TurnEvent | None], pause_s: float = PAUSE_S
) -> Generator[ComparisonSnapshot, None, None]:
    """Follow the events; growing text is shown at most once per `pause_s`, everything else at once."""
    now = ComparisonSnapshot(live=(LiveRun(started_s=monotonic()), LiveRun()))
    yield now
    shown_at = monotonic()
    for event in events:
        now = _after(now, event)
        if isinstance(event, Token) and monotonic() - shown_at < pause_s:
            continue
        yield now
        shown_at = monotonic()


def _after(now: ComparisonSnapshot, event: TurnEvent | None) -> ComparisonSnapshot:
    if event is None:
        return replace(now, status=WAITING, live=(LiveRun(started_s=monotonic()), LiveRun()))
    if isinstance(event, TurnOver):
        return _over(now, event)
    if isinstance(event, PairStarts):
        return replace(now, status=REPEATING)
    if isinstance(event, Pair):
        return replace(now, pairs=(*now.pairs, event))
    if isinstance(event, OthersWait):
        return replace(now, others_wait=True)
    assert not isinstance(event, Refused)
    run = event.run
    live = _after_live(now.live[run], event)
    if isinstance(event, Prefilled):
        trace = event.trace if run == REDUCED else now.trace
        return replace(now, status=WRITING[run], trace=trace, live=_with(now.live, run, live))
    if isinstance(event, Token):
        return replace(now, texts=_with(now.texts, run, event.text), live=_with(now.live, run, live))
    return _done(now, event)


def _after_live(live: LiveRun, event: Prefilled | Token | Done) -> LiveRun:
    clock = monotonic()
    if isinstance(event, Prefilled):
        start = clock if live.started_s is None else live.started_s
        return replace(live, started_s=start, first_s=clock - start)
    if isinstance(event, Token):
        assert live.started_s is not None and live.first_s is not None
        lengths = (*live.lengths, len(event.text))
        return replace(live, tokens=live.tokens + 1, last_s=clock - live.started_s - live.first_s, lengths=lengths)
    return live


def _done(now: ComparisonSnapshot, event: Done) -> ComparisonSnapshot:
    """A run has ended; after the baseline, the reduced run begins."""
    run = event.run
    now = replace(now, texts=_with(now.texts, run, event.answer.text), answers=_with(now.answers, run, event.answer))
    if run == REDUCED:
        return now
    live = _with(now.live, REDUCED, LiveRun(started_s=monotonic()))
    return replace(now, status=STARTING[REDUCED], kept=isinstance(event, KeptDone), live=live)


def _over(now: ComparisonSnapshot, event: TurnOver) -> ComparisonSnapshot:
    ran = [answer.timings for answer in now.answers[REDUCED if now.kept else BASELINE :] if answer]
    served = any(answer and answer.server for answer in now.answers)
    time = turn_time([RunTime(timings.total_ms, timings.vision_shared_ms) for timings in ran], event, served)
    status = turn_in_words("The answer with fewer visual tokens" if now.kept else "The two answers", time)
    cut = " An answer was cut off at the length limit." if any(a and not a.finished for a in now.answers) else ""
    return replace(now, status=f"{status}{KEPT_BASELINE if now.kept else ''}{cut}", time=time)


def _with(pair: tuple[T, T], run: int, value: T) -> tuple[T, T]:
    return (value, pair[1]) if run == BASELINE else (pair[0], value)
