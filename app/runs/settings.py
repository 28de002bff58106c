"""What a visitor or a program asks of the Arena and the Sweep, checked, and the runs that follow from it."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar

from vscan_core.budget import check_retention
from vscan_core.catalog import is_random
from vscan_core.errors import InputError

from .. import formatting
from ..session.session import MAX_NEW_TOKENS, Session
from ..session.sources import OpenedSource, Source
from ..ui.errors import explained
from ..ui.messages import MEANINGLESS_TEXT
from .progress import DrawTokens, RunsSnapshot, RunState, run_snapshots

DEFAULT_METHODS = ("vscan", "vispruner", "visionzip", "divprune", "random")  # of the Arena, as far as they are on offer
SWEEP_RETENTIONS = (1.0, 1 / 2, 1 / 3, 2 / 9, 1 / 9, 1 / 18, 1 / 36)
SWEEP_RETENTIONS_TEXT = "1, 0.5, 0.333, 0.222, 0.111, 0.056, 0.028"
MAX_RETENTIONS = 20  # in one sweep


@dataclass(frozen=True)
class RunSettings(ABC):
    """What all runs share; exported as it is."""

    compared: ClassVar[str]  # what differs from run to run, in the plural
    model: str
    question: str
    max_new_tokens: int
    device: str
    picture_sha256: str

    @abstractmethod
    def planned(self, session: Session) -> list[RunState]:
        """The runs in their order, without the baseline."""

    def run_facts(self, run: RunState) -> dict[str, Any]:
        """What the exports say about a run beside what they say about every run."""
        return {}


@dataclass(frozen=True)
class ArenaSettings(RunSettings):
    """Several methods at one retention."""

    compared = "methods"
    retention: float
    methods: tuple[str, ...]

    def planned(self, session: Session) -> list[RunState]:
        """One run per method, named after it."""
        return [RunState(session.engine.method(name).title, name, self.retention) for name in self.methods]


@dataclass(frozen=True)
class SweepSettings(RunSettings):
    """One method at several retentions, the largest first."""

    compared = "runs"
    method: str
    retentions: tuple[float, ...]

    def planned(self, session: Session) -> list[RunState]:
        """One run per retention, named after it."""
        return [RunState(formatting.percent(share), self.method, share) for share in self.retentions]

    def run_facts(self, run: RunState) -> dict[str, Any]:
        """The retention, and how fast the run wrote."""
        speed = {"tokens_per_second": tokens_per_second(run)} if run.answer else {}
        return {"retention": run.retention, **speed}


def arena_settings(
    session: Session, model: str, opened: OpenedSource, question: str, retention: float, methods: Sequence[str]
) -> ArenaSettings:
    """Check what was asked of the Arena. Raises InputError."""
    if not methods:
        raise InputError("Please choose at least one method.")
    for name in methods:
        session.engine.method(name)
    check_retention(retention)
    return ArenaSettings(
        **_shared(session, model, opened, question), retention=retention, methods=tuple(dict.fromkeys(methods))
    )


def sweep_settings(
    session: Session, model: str, opened: OpenedSource, question: str, retentions: Sequence[float], method: str
) -> SweepSettings:
    """Check what was asked of the Sweep. Raises InputError."""
    shares = tuple(sorted({check_retention(share) for share in retentions}, reverse=True))
    if not 1 <= len(shares) <= MAX_RETENTIONS:
        raise InputError(f"Please choose between 1 and {MAX_RETENTIONS} retentions.")
    session.engine.method(method)
    return SweepSettings(**_shared(session, model, opened, question), method=method, retentions=shares)


def default_methods(session: Session) -> list[str]:
    """Methods that differ in kind and reach every budget; only a few, since each takes a while on a small computer."""
    on_offer = list(session.engine.methods())
    return [name for name in DEFAULT_METHODS if name in on_offer] or on_offer[:4]


def retentions_from(text: str) -> list[float]:
    """ "0.5, 0.111" as numbers. Raises InputError."""
    try:
        return [float(share) for share in text.split(",")]
    except ValueError:
        example = SWEEP_RETENTIONS_TEXT
        raise InputError(f"Retentions are numbers with commas between them, such as {example}.") from None


def stream_runs(
    session: Session, source: Source, settings: RunSettings, draw: DrawTokens = lambda trace: None
) -> Generator[RunsSnapshot, None, None]:
    """The baseline and the planned runs, in one turn of the device. Close it to stop."""
    planned = settings.planned(session)
    makers = [functools.partial(session.engine.method(run.method), run.retention or 1.0) for run in planned]
    note = MEANINGLESS_TEXT if is_random(settings.model) else None
    with closing(session.run_each(settings.model, source, settings.question, makers)) as events:
        yield from run_snapshots(events, planned, draw, explained, settings.compared, note)


def tokens_per_second(run: RunState) -> float | None:
    """How fast an answer is written after its first token; None: it had only one, or has not ended."""
    decode_ms: float | None = run.answer["timings"]["decode_ms_per_token"] if run.answer else None
    return 1000 / decode_ms if decode_ms else None


def _shared(session: Session, model: str, opened: OpenedSource, question: str) -> dict[str, Any]:
    return {
        "model": model,
        "question": question,
        "max_new_tokens": MAX_NEW_TOKENS,
        "device": session.device(model).name,
        "picture_sha256": opened.digest,
    }
