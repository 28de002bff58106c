"""What a visitor or a program asks of the Sweep, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vscan_core.budget import check_retention
from vscan_core.errors import InputError

from .. import formatting
from ..runs.progress import RunState
from ..runs.settings import RunSettings, shared_settings
from ..session.session import Session
from ..session.sources import OpenedSource

SWEEP_RETENTIONS = (1.0, 1 / 2, 1 / 3, 2 / 9, 1 / 9, 1 / 18, 1 / 36)
SWEEP_RETENTIONS_TEXT = "1, 0.5, 0.333, 0.222, 0.111, 0.056, 0.028"
MAX_RETENTIONS = 20  # in one sweep


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


def sweep_settings(
    session: Session, model: str, opened: OpenedSource, question: str, retentions: Sequence[float], method: str
) -> SweepSettings:
    """Check what was asked of the Sweep. Raises InputError."""
    shares = tuple(sorted({check_retention(share) for share in retentions}, reverse=True))
    if not 1 <= len(shares) <= MAX_RETENTIONS:
        raise InputError(f"Please choose between 1 and {MAX_RETENTIONS} retentions.")
    session.engine.method(method)
    return SweepSettings(**shared_settings(session, model, opened, question), method=method, retentions=shares)


def retentions_from(text: str) -> list[float]:
    """ "0.5, 0.111" as numbers. Raises InputError."""
    try:
        return [float(share) for share in text.split(",")]
    except ValueError:
        example = SWEEP_RETENTIONS_TEXT
        raise InputError(f"Retentions are numbers with commas between them, such as {example}.") from None


def tokens_per_second(run: RunState) -> float | None:
    """How fast an answer is written after its first token; None: it had only one, or has not ended."""
    decode_ms: float | None = run.answer["timings"]["decode_ms_per_token"] if run.answer else None
    return 1000 / decode_ms if decode_ms else None
