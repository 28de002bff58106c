"""The JSON export: settings, versions and all numbers of the runs."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from vscan_core import __version__
from vscan_core.report import SHARED

from ..ui.messages import KEPT_EARLIER
from .progress import RunsSnapshot, RunState
from .settings import RunSettings

SINGLE_RUN = "Single run, not a benchmark."
PACKAGES = ("torch", "transformers", "gradio")


def runs_as_json(settings: RunSettings, now: RunsSnapshot) -> dict[str, Any]:
    """Plain JSON types, units in the names; runs that are over, in the order in which they ran, the baseline first."""
    return {
        "note": SINGLE_RUN,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(settings).items()
        },
        "versions": versions(),
        "hint": now.hint,
        "ended": now.ended,
        "turn": None if now.time is None else asdict(now.time),
        "runs": [run_as_json(run) | settings.run_facts(run) for run in now.runs if run.over],
    }


def run_as_json(run: RunState) -> dict[str, Any]:
    """One run that is over."""
    if run.answer is None:
        return {"method": run.method, "title": run.title, "problem": run.problem}
    return {
        "title": run.title,
        **run.answer,
        "method": run.method,
        "same_answer": run.agrees,
        "kept": KEPT_EARLIER if run.kept else None,
        "vision_encoder": SHARED if run.answer["timings"]["vision_shared_ms"] else "encoded by this run",
        "text_means_something": run.text_note is None,
        "visual_token_steps": list(run.counts),
        "ratios": run.ratios,
    }


def versions() -> dict[str, str]:
    """What made the numbers."""
    found = {"vscan_core": __version__, "python": platform.python_version(), "system": platform.system()}
    return found | {name: version(name) for name in PACKAGES}


def json_file(found: dict[str, Any]) -> bytes:
    """The content of the file."""
    return json.dumps(found, indent=1, ensure_ascii=False).encode()
