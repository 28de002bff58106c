"""What a visitor or a program asks of a page of several runs, and the runs that follow from it."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar

from vscan_core.catalog import is_random
from vscan_core.reducers import Reducer

from ..session.session import MAX_NEW_TOKENS, Session
from ..session.sources import OpenedSource, Source
from ..ui.errors import explained
from ..ui.messages import MEANINGLESS_TEXT
from .progress import DrawTokens, RunsSnapshot, RunState, run_snapshots


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


def stream_runs(
    session: Session, source: Source, settings: RunSettings, draw: DrawTokens = lambda trace: None
) -> Generator[RunsSnapshot, None, None]:
    """The baseline and the planned runs, in one turn of the device. Close it to stop."""
    planned = settings.planned(session)
    makers = [functools.partial(_reducer, session, settings.model, run) for run in planned]
    note = MEANINGLESS_TEXT if is_random(settings.model) else None
    with closing(session.run_each(settings.model, source, settings.question, makers)) as events:
        yield from run_snapshots(events, planned, draw, explained, settings.compared, note)


def _reducer(session: Session, model: str, run: RunState) -> Reducer:
    return session.engine.reducer(session.model(model), run.method, run.retention or 1.0)


def shared_settings(session: Session, model: str, opened: OpenedSource, question: str) -> dict[str, Any]:
    """The fields of RunSettings, by name."""
    return {
        "model": model,
        "question": question,
        "max_new_tokens": MAX_NEW_TOKENS,
        "device": session.engine.place(session.device(model).name),
        "picture_sha256": opened.digest,
    }
