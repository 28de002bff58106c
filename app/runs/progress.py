"""Several runs at one moment, as a page shows them: the state of each is filled in while the runs go on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from vscan_core.events import Answer, Done, Prefilled, Token
from vscan_core.multirun import Refused
from vscan_core.report import as_dict, ratios, same_answer, token_steps
from vscan_core.trace import Trace

from ..session.turn import KeptDone, OthersWait, Pair, PairStarts, TurnEvent, TurnOver
from ..ui.messages import WAITING
from .on_cpu import on_cpu
from .turn_time import KEPT_BASELINE, RunTime, TurnTime, turn_in_words, turn_time

BASELINE_METHOD = "baseline"
TEXT_PAUSE_S = 0.25  # between two snapshots of growing text
CANNOT = "Cannot run here: "

DrawTokens = Callable[[Trace], str | None]  # draws the tokens of a run and returns the file


@dataclass(frozen=True)
class RunState:
    """What is known of one run, in a few kilobytes on the CPU: it is kept in the visitor's state and exported."""

    title: str  # as the page names the run
    method: str  # key in REDUCERS, or BASELINE_METHOD
    retention: float | None = None  # None: the baseline
    text: str = ""
    text_note: str | None = None  # shown instead of a text that means nothing
    counts: tuple[int, ...] = ()  # distinct counts of visual tokens in the order of the layers
    answer: dict[str, Any] | None = None  # as_dict of the run, once it has ended
    done: Answer | None = field(default=None, compare=False, repr=False)  # the same with its whole trace
    ratios: dict[str, float] | None = None  # baseline / this run
    same: bool | None = None  # whether its text is the baseline's
    picture: str | None = None  # file with its tokens marked
    problem: str | None = None  # why it could not run
    kept: bool = False  # whether it ran in an earlier turn, where its figures were measured

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.answer is not None or self.problem is not None

    @property
    def agrees(self) -> bool | None:
        """Whether it gives the baseline's answer; None if unknown, or if its text means nothing."""
        return None if self.text_note else self.same


@dataclass(frozen=True)
class RunsSnapshot:
    """All runs at one moment, the baseline first."""

    runs: tuple[RunState, ...]
    status: str = "Starting with all visual tokens …"
    hint: str | None = None
    compared: str = "methods"  # what differs from run to run, in the plural
    time: TurnTime | None = None  # once every run is over

    @property
    def ended(self) -> bool:
        """Whether every run is over."""
        return self.time is not None

    @property
    def over(self) -> int:
        """How many runs are over."""
        return sum(run.over for run in self.runs)

    @property
    def notes(self) -> str:
        """What the model has to say about the picture, how answers came about, and which server gave them."""
        told = [one for run in self.runs if run.answer for one in (*run.answer["notes"], *run.answer["server"])]
        return "\n\n".join(dict.fromkeys(filter(None, (self.hint, *told))))

    @property
    def served(self) -> bool:
        """Whether a server answered."""
        return any(run.answer and run.answer["server"] for run in self.runs)

    @property
    def started(self) -> bool:
        """Whether the baseline has ended, so that there is something to show and to save."""
        return self.runs[0].answer is not None

    @property
    def text_note(self) -> str | None:
        """What is shown instead of texts that mean nothing."""
        return self.runs[0].text_note


def run_snapshots(
    events: Iterable[TurnEvent | None],
    planned: Sequence[RunState],
    draw: DrawTokens,
    explain: Callable[[Exception], str],
    compared: str = "methods",
    text_note: str | None = None,
) -> Generator[RunsSnapshot, None, None]:
    """Turn the events of the baseline and of the `planned` runs into snapshots, fewer than one per token."""
    states = (RunState("Baseline", BASELINE_METHOD), *planned)
    now = RunsSnapshot(tuple(replace(run, text_note=text_note) for run in states), compared=compared)
    yield now
    baseline: Done | None = None
    shown_at = 0.0
    for event in events:
        if isinstance(event, Done):
            baseline = baseline or event
            now = _done(now, event, baseline, draw)
        else:
            now = _after(now, event, explain)
        if isinstance(event, Token) and monotonic() - shown_at < TEXT_PAUSE_S:
            continue
        yield now
        shown_at = monotonic()


def _after(now: RunsSnapshot, event: TurnEvent | None, explain: Callable[[Exception], str]) -> RunsSnapshot:
    if event is None:
        return replace(now, status=WAITING)
    if isinstance(event, TurnOver):
        return _over(now, event)
    assert not isinstance(event, PairStarts | Pair | OthersWait)
    run = now.runs[event.run]
    if isinstance(event, Prefilled):
        return replace(now, status=f"{_place(now, event.run)}: {run.title} is writing …")
    if isinstance(event, Token):
        return _with(now, event.run, replace(run, text=event.text))
    assert isinstance(event, Refused)
    now = _with(now, event.run, replace(run, problem=CANNOT + explain(event.reason)))
    return replace(now, status=_status(now, event.run))


def _done(now: RunsSnapshot, event: Done, baseline: Done, draw: DrawTokens) -> RunsSnapshot:
    """A run has ended: its numbers, whether it agrees with the baseline, and its picture."""
    answer = event.answer
    first = event.run == 0
    run = replace(
        now.runs[event.run],
        text=answer.text,
        counts=tuple(token_steps(answer)),
        answer=as_dict(answer),
        done=on_cpu(answer),
        ratios=None if first else ratios(baseline.answer, answer),
        same=None if first else same_answer(baseline.answer, answer),
        picture=None if first else draw(answer.trace),
        kept=isinstance(event, KeptDone),
    )
    now = _with(now, event.run, run)
    return replace(now, status=_status(now, event.run), hint=now.hint or answer.hint)


def _status(now: RunsSnapshot, last: int) -> str:
    """What comes next."""
    return f"{_place(now, last + 1)}: {now.runs[last + 1].title} …" if last + 1 < len(now.runs) else now.status


def _over(now: RunsSnapshot, event: TurnOver) -> RunsSnapshot:
    """How it ended."""
    answers = [run.answer for run in now.runs if run.answer]
    ran = [run.answer["timings"] for run in now.runs if run.answer and not run.kept]
    times = [RunTime(timings["total_ms"], timings["vision_shared_ms"]) for timings in ran]
    time = turn_time(times, event, now.served)
    kept = now.runs[0].kept
    took = turn_in_words("The other runs" if kept else "All runs", time) + (KEPT_BASELINE if kept else "")
    same = sum(bool(run.same) for run in now.runs)
    refused = len(now.runs) - len(answers)
    cannot = f"; {refused} cannot run here" if refused else ""
    agree = f"{same} of {len(answers) - 1} {now.compared} give the baseline's answer{cannot}"
    cut = (
        "" if all(answer["finished"] for answer in answers) else " At least one answer was cut off at its length limit."
    )
    return replace(now, status=f"{agree}. {took}{cut}", time=time)


def _place(now: RunsSnapshot, run: int) -> str:
    return f"Run {run + 1} of {len(now.runs)}"


def _with(now: RunsSnapshot, place: int, run: RunState) -> RunsSnapshot:
    return replace(now, runs=(*now.runs[:place], run, *now.runs[place + 1 :]))
