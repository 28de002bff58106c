"""Accuracy that this project measured: `assets/recorded/*.json`, written by `benchmarks/accuracy.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vscan_core.errors import InputError
from vscan_core.resources import asset

LEVEL_NAMES = ("dense", "floor", "majority")
RECORDED_FOLDER = asset("recorded")
ALL = "All questions"
IN_CHECKOUT = "In a checkout of the repository, the scripts in `benchmarks/` make a new one."


@dataclass(frozen=True)
class Score:
    """Share of right answers, 0 to 1, and its 95 % interval if it has one."""

    accuracy: float
    n: int | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Row:
    """One method at one retention, or one variant of an ablation."""

    method: str
    retention: float
    scores: Mapping[str, Score]  # by question type, with ALL; empty if refused
    kept: float | None = None  # visual tokens, mean over layers and pictures
    relative: float | None = None  # accuracy / dense accuracy
    p_value: float | None = None  # paired, against the dense model
    refused: str | None = None  # why the method cannot run here
    group: str = ""
    variant: str = ""


@dataclass(frozen=True)
class AccuracyRecord:
    """One file."""

    path: Path
    facts: Mapping[str, Any]  # model, commit, seed, hardware, ... as written
    rows: Sequence[Row]
    levels: Mapping[str, Mapping[str, Score]]  # "dense", "floor", "majority" by question type, as far as recorded

    @property
    def title(self) -> str:
        """Model and task."""
        return f"{self.facts.get('model', self.path.stem)}, {self.facts.get('task', 'task unknown')}"

    @property
    def kinds(self) -> list[str]:
        """Question types, ALL first."""
        found = dict.fromkeys(kind for row in self.rows for kind in row.scores if kind != ALL)
        return [ALL, *found]

    @property
    def methods(self) -> list[str]:
        """In the order of the file."""
        return list(dict.fromkeys(row.method for row in self.rows))

    @property
    def retentions(self) -> list[float]:
        """The largest first."""
        return sorted({row.retention for row in self.rows}, reverse=True)


def accuracy_records(prefix: str, folder: Path = RECORDED_FOLDER) -> list[AccuracyRecord]:
    """Every record whose file name starts with `prefix`. Raises InputError if a file cannot be read."""
    return [read_record(path) for path in sorted(folder.glob(f"{prefix}*.json"))]


def read_record(path: Path) -> AccuracyRecord:
    """Read one file. Raises InputError if it is damaged."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        levels = {name: _scores(data[name]) for name in LEVEL_NAMES if data.get(name) and "refused" not in data[name]}
        facts = {key: value for key, value in data.items() if key not in ("rows", *LEVEL_NAMES)}
        rows = [_row(each) for each in data["rows"] if each["retention"] is not None]  # None: the baseline
        return AccuracyRecord(path, facts, rows, levels)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        kind = type(error).__name__
        raise InputError(f"{path.name} is damaged ({kind}): install this package again. {IN_CHECKOUT}") from None


def _row(data: Mapping[str, Any]) -> Row:
    return Row(
        method=str(data["method"]),
        retention=float(data["retention"]),
        scores={} if data.get("refused") else _scores(data),
        kept=data.get("kept_tokens_mean"),
        relative=data.get("relative"),
        p_value=data.get("p_value"),
        refused=data.get("refused"),
        group=str(data.get("group", "")),
        variant=str(data.get("variant", "")),
    )


def _scores(data: Mapping[str, Any]) -> dict[str, Score]:
    kinds = data.get("by_type") or {}
    return {ALL: _score(data)} | {kind: _score(each) for kind, each in kinds.items()}


def _score(data: Mapping[str, Any] | float) -> Score:
    if isinstance(data, int | float):
        return Score(float(data))
    interval = data.get("interval")
    return Score(float(data["accuracy"]), data.get("n"), (float(interval[0]), float(interval[1])) if interval else None)


def source_line(facts: Mapping[str, Any]) -> str:
    """Where numbers come from, as one line of Markdown; what was not recorded is left out."""
    versions = ", ".join(f"{name} {number}" for name, number in (facts.get("versions") or {}).items())
    weights = str(facts.get("weights_sha256") or "")[:8]
    pieces = [
        f"**Measured by this project** on `{facts.get('model', 'unknown model')}`" if "model" in facts else
        "**Measured by this project**",
        f"weights {weights}" if weights else "",
        _amount(facts),
        f"seed {facts['seed']}" if facts.get("seed") is not None else "",
        str(facts.get("hardware") or ""),
        versions,
        str(facts.get("date") or ""),
        f"commit {str(facts['commit'])[:10]}" if facts.get("commit") else "",
        f"in the repository: `{facts['command']}`" if facts.get("command") else "",
    ]  # fmt: skip
    return " · ".join(piece for piece in pieces if piece)


def _amount(facts: Mapping[str, Any]) -> str:
    if not isinstance(facts.get("n"), int):
        return ""
    pictures = f" about {facts['pictures']:,} pictures" if isinstance(facts.get("pictures"), int) else ""
    return f"{facts['n']:,} questions{pictures}"
