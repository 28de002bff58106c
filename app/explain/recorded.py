"""Recorded runs as stories: they need no model, and say where and when they were measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from vscan_core.catalog import MODELS
from vscan_core.errors import InputError
from vscan_core.events import Timings
from vscan_core.recording.files import RUN_FILE, load_recording
from vscan_core.recording.recorded import RecordedRun, Recording
from vscan_core.resources import asset

from ..ui.errors import log
from .story import StorySetting, story

RECORDED_RUNS = asset("recorded", "runs")  # one folder per recording
METHOD = "vscan"  # what the steps explain


def recordings(folder: Path) -> dict[str, Recording]:
    """Recordings with a run of VScan, by the names of their folders; what cannot be read is left out, and logged."""
    found = {}
    for file in sorted(folder.glob(f"*/{RUN_FILE}")):
        try:
            recording = load_recording(file.parent)
        except InputError as error:
            log.warning("%s is left out: %s", file.parent.name, error)
            continue
        if _reduced(recording) is not None:
            found[file.parent.name] = recording
    return found


def label_of(recording: Recording) -> str:
    """A recording in a menu."""
    return f"Recorded: {recording.question} ({_title(recording)})"


def recorded_story(recording: Recording) -> dict[str, Any]:
    """The story of a recording that has a run of VScan."""
    baseline, reduced = recording.runs[0], _reduced(recording)
    assert reduced is not None
    trace = reduced.answer.trace
    image = trace.images[0]
    setting = StorySetting(
        question=recording.question,
        model=_title(recording),
        layers=len(trace.visual_tokens_per_layer),
        hardware=str(recording.facts.get("hardware", "unknown hardware")),
        readable=not recording.random_weights,
        right=recording.note,
        recorded=str(recording.facts.get("date", "an unknown day")),
    )
    schedule = {cut.layer: len(cut.kept) for cut in image.cuts}
    pairs = list(zip(_rounds(baseline), _rounds(reduced), strict=True))
    return story(recording.picture, image, trace.boxes(0), setting, schedule, (baseline.answer, reduced.answer), pairs)


def _reduced(recording: Recording) -> RecordedRun | None:
    return next((run for run in recording.runs if run.answer.method == METHOD), None)


def _title(recording: Recording) -> str:
    return MODELS[recording.model].title if recording.model in MODELS else recording.model


def _rounds(run: RecordedRun) -> list[Timings]:
    """The times of every round; only those up to the first token were repeated."""
    names = list(run.repeats)
    rounds = zip(*run.repeats.values(), strict=True)
    return [replace(run.answer.timings, **dict(zip(names, values, strict=True))) for values in rounds]
