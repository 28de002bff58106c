"""The HTML export: the report of the runs that were shown, as `vscan_core.html_report` writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from PIL import Image

from vscan_core.html_report import html_report
from vscan_core.recording.recorder import from_answers
from vscan_core.reducers.base import Reducer
from vscan_core.report import SHARED

from ..ui.messages import KEPT_EARLIER
from .progress import RunsSnapshot, RunState
from .settings import RunSettings


def runs_as_html(
    settings: RunSettings,
    now: RunsSnapshot,
    picture: Image.Image,
    reducer_of: Callable[[str, float], Reducer],
    plan: str,
    facts: Mapping[str, Any],
) -> bytes:
    """The content of the file: runs that have ended, with the pictures of their tokens; it escapes what was typed.

    Args:
        picture: What the runs were asked about; it may be smaller than the original.
        reducer_of: A run's method, from its name and its retention.
        plan: What was compared, in words.
        facts: Where the figures come from.
    """
    ended = [(run, run.done) for run in now.runs if run.done is not None]
    reducers = [None if run.retention is None else reducer_of(run.method, run.retention) for run, _ in ended]
    facts = {**facts, **_facts(now)}
    note = f"{plan}." + ("" if now.ended else " Stopped before every run had ended.")
    recording = from_answers(
        settings.model, picture, settings.question, [answer for _, answer in ended], reducers, facts=facts, note=note
    )
    runs = [replace(one, title=run.title) for one, (run, _) in zip(recording.runs, ended, strict=True)]
    return html_report(replace(recording, runs=tuple(runs))).encode()


def _facts(now: RunsSnapshot) -> dict[str, Any]:
    """What was measured elsewhere, and what could not run."""
    found: dict[str, Any] = {run.title: run.problem for run in now.runs if run.problem}
    if any(_shared(run) for run in now.runs):
        found["vision encoder"] = SHARED
    if now.runs[0].kept:
        found["baseline"] = KEPT_EARLIER
    return found


def _shared(run: RunState) -> bool:
    return run.done is not None and run.done.timings.vision_shared
