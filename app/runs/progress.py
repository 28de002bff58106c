"""One round as the page sees it: an entry per method, filled in while its run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from typing import Any

from vscan_core.events import Done, Event, Prefilled, Token
from vscan_core.multirun import Refused
from vscan_core.report import as_dict, ratios, same_answer, token_steps
from vscan_core.trace import Trace

from .. import formatting
from ..compare.progress import WAITING

BASELINE = "baseline"
PAUSE_S = 0.25  # between two snapshots of growing text
CANNOT = "Cannot run here: "

Draw = Callable[[Trace], str | None]  # draws the tokens of a run and returns the file


@dataclass(frozen=True)
class Entry:
    """What is known of one run. Plain values only: it is kept in the visitor's state and exported."""

    name: str  # key in REDUCERS, or the retention in a sweep, or "baseline"
    title: str
    text: str = ""
    counts: tuple[int, ...] = ()  # distinct counts of visual tokens in the order of the layers
    answer: dict[str, Any] | None = None  # as_dict of the run that has ended
    ratios: dict[str, float] | None = None  # baseline / this run
    same: bool | None = None  # whether it agrees with the baseline
    picture: str | None = None  # file with its tokens marked
    problem: str | None = None  # why it could not run

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.answer is not None or self.problem is not None


@dataclass(frozen=True)
class Round:
    """All entries at one moment, the baseline first."""

    entries: tuple[Entry, ...]
    status: str = "Starting with all visual tokens …"
    hint: str | None = None
    of: str = "methods"  # what differs from run to run, in the plural

    @property
    def ended(self) -> bool:
        """Whether every run is over."""
        return all(entry.over for entry in self.entries)

    @property
    def some(self) -> bool:
        """Whether there is anything to show or to save."""
        return self.entries[0].answer is not None


def rounds(
    events: Iterable[Event | Refused | None],
    titles: dict[str, str],
    draw: Draw,
    explain: Callable[[Exception], str],
    pause_s: float = PAUSE_S,
    of: str = "methods",
) -> Generator[Round, None, None]:
    """Follow the events of runs `titles` (name: title) behind the baseline; growing text is shown now and then."""
    now = Round((Entry(BASELINE, "Baseline"), *(Entry(name, title) for name, title in titles.items())), of=of)
    yield now
    reference: Done | None = None
    shown_at = 0.0
    for event in events:
        if isinstance(event, Done):
            reference = reference or event
            now = _done(now, event, reference, draw)
        else:
            now = _after(now, event, explain)
        if isinstance(event, Token) and time.monotonic() - shown_at < pause_s:
            continue
        yield now
        shown_at = time.monotonic()


def _after(now: Round, event: Event | Refused | None, explain: Callable[[Exception], str]) -> Round:
    """The next moment."""
    if event is None:
        return replace(now, status=WAITING)
    entry = now.entries[event.run]
    if isinstance(event, Prefilled):
        return replace(now, status=f"{_place(now, event.run)}: {entry.title} is writing …")
    if isinstance(event, Token):
        return _with(now, event.run, replace(entry, text=event.text))
    assert isinstance(event, Refused)
    now = _with(now, event.run, replace(entry, problem=CANNOT + explain(event.reason)))
    return replace(now, status=_status(now, event.run))


def _done(now: Round, event: Done, reference: Done, draw: Draw) -> Round:
    """A run has ended: its numbers, its agreement and its picture."""
    answer = event.answer
    first = event.run == 0
    entry = replace(
        now.entries[event.run],
        text=answer.text,
        counts=tuple(token_steps(answer)),
        answer=as_dict(answer),
        ratios=None if first else ratios(reference.answer, answer),
        same=None if first else same_answer(reference.answer, answer),
        picture=None if first else draw(answer.trace),
    )
    now = _with(now, event.run, entry)
    return replace(now, status=_status(now, event.run), hint=now.hint or answer.hint)


def _status(now: Round, run: int) -> str:
    """What comes next, or how it ended."""
    if not now.ended:
        return f"{_place(now, run + 1)}: {now.entries[run + 1].title} …"
    answers = [entry for entry in now.entries if entry.answer]
    total = sum(entry.answer["timings"]["total_ms"] for entry in answers if entry.answer)
    same = sum(bool(entry.same) for entry in answers)
    refused = len(now.entries) - len(answers)
    cannot = f"; {refused} cannot run here" if refused else ""
    agree = f"{same} of {len(answers) - 1} {now.of} give the baseline's answer{cannot}"
    cut = (
        " The length limit ended an answer early."
        if any(e.answer and not e.answer["finished"] for e in answers)
        else ""
    )
    return f"{agree}. All runs took {formatting.milliseconds(total)} together.{cut}"


def _place(now: Round, run: int) -> str:
    return f"Run {run + 1} of {len(now.entries)}"


def _with(now: Round, run: int, entry: Entry) -> Round:
    return replace(now, entries=(*now.entries[:run], entry, *now.entries[run + 1 :]))
