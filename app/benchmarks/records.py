"""Accuracy that this project measured: `assets/recorded/*.json`, written by `benchmarks/accuracy.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vscan_core.errors import InputError
from vscan_core.resources import asset

LEVEL_NAMES = ("dense", "floor", "majority")
PAIRED = ("only_method", "only_downsample", "p_value")
RECORDED_FOLDER = asset("recorded")
ALL = "All questions"
FAILS, SOLVES = "Downsample fails", "Downsample is right"  # of those that the dense model answers; see `FilterGroup`
FILTERED_KINDS = {FAILS: "difficult", SOLVES: "simple"}  # as records name them
LOCATION_KIND = "Where is it"  # all questions about places together
GROUPED_KINDS = {LOCATION_KIND: "location"}  # as records name them
IN_CHECKOUT = "In a checkout of the repository, the scripts in `benchmarks/` make a new one."


@dataclass(frozen=True)
class Score:
    """Share of right answers, 0 to 1, and its 95 % interval if it has one."""

    accuracy: float
    n: int | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class FilterGroup:
    """Of the questions that the dense model answers, those that `downsample` at the same retention fails, or solves."""

    n: int
    score: Score | None  # None: too few questions
    too_few: str | None = None  # the reason, as a sentence of the record


@dataclass(frozen=True)
class PairedCounts:
    """One method against `downsample`, on all questions."""

    only_method: int  # questions that only the method answers
    only_downsample: int
    p_value: float


@dataclass(frozen=True)
class Row:
    """One method at one retention, or one variant of an ablation."""

    method: str
    retention: float
    scores: Mapping[str, Score]  # by question type, with ALL, FAILS, SOLVES and groups of types; empty if refused
    kept: float | None = None  # visual tokens, mean over layers and pictures
    relative: float | None = None  # accuracy / dense accuracy
    p_value: float | None = None  # paired, against the dense model
    refused: str | None = None  # why the method cannot run here
    group: str = ""
    variant: str = ""
    filtered: Mapping[str, FilterGroup] = field(default_factory=dict)  # by FAILS and SOLVES; empty if not recorded
    paired: PairedCounts | None = None
    command: str = ""  # makes the row again
    later: str = ""  # when and where it was measured, if after the others of its record


@dataclass(frozen=True)
class AccuracyRecord:
    """One file."""

    path: Path
    facts: Mapping[str, Any]  # model, commit, seed, hardware, ... as written
    rows: Sequence[Row]
    levels: Mapping[str, Mapping[str, Score]]  # "dense", "floor", "majority" by question type, as far as recorded
    again: Mapping[str, str] = field(default_factory=dict)  # their commands

    @property
    def title(self) -> str:
        """Model and task."""
        return f"{self.facts.get('model', self.path.stem)}, {self.facts.get('task', 'task unknown')}"

    @property
    def kinds(self) -> list[str]:
        """ALL, the groups of the downsampling filter and of types as far as they are recorded, then question types."""
        found = dict.fromkeys(kind for row in self.rows for kind in row.scores)
        first = [kind for kind in (ALL, *FILTERED_KINDS, *GROUPED_KINDS) if kind in found]
        return [*first, *(kind for kind in found if kind not in first)]

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
        facts = {key: value for key, value in data.items() if key not in ("rows", "downsample", *LEVEL_NAMES)}
        rows = [_row(each) for each in data["rows"] if each["retention"] is not None]  # None: the baseline
        again = {name: str(data[name].get("command", "")) for name in levels}
        return AccuracyRecord(path, facts, rows, levels, again)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        kind = type(error).__name__
        raise InputError(f"{path.name} is damaged ({kind}): install this package again. {IN_CHECKOUT}") from None


def _row(data: Mapping[str, Any]) -> Row:
    found = data.get("downsampling_filter") or {}
    filtered = {name: _filter_group(found[key]) for name, key in FILTERED_KINDS.items() if key in found}
    known = {name: group.score for name, group in filtered.items() if group.score is not None}
    paired = found.get("against_downsample")
    return Row(
        method=str(data["method"]),
        retention=float(data["retention"]),
        scores={} if data.get("refused") else _scores(data) | known,
        kept=data.get("kept_tokens_mean"),
        relative=data.get("relative"),
        p_value=data.get("p_value"),
        refused=data.get("refused"),
        group=str(data.get("group", "")),
        variant=str(data.get("variant", "")),
        filtered=filtered,
        paired=PairedCounts(*(paired[name] for name in PAIRED)) if paired else None,
        command=str(data.get("command", "")),
        later=_place(data.get("measured") or {}),
    )


def _place(facts: Mapping[str, Any]) -> str:
    """ "2026-11-30, CPU ..., commit ..."; "" if nothing is known."""
    commit = f"commit {str(facts['commit'])[:10]}" if facts.get("commit") else ""
    return ", ".join(piece for piece in (facts.get("date"), facts.get("hardware"), commit) if piece)


def measured_later(rows: Sequence[Row], titles: Mapping[str, str]) -> list[str]:
    """A sentence for each later measurement whose rows joined a record."""
    groups: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.later:
            groups.setdefault(row.later, {})[titles.get(row.method, row.method)] = None
    return [f"Measured later ({when}): {', '.join(names)}." for when, names in groups.items()]


def _filter_group(data: Mapping[str, Any]) -> FilterGroup:
    return FilterGroup(int(data["n"]), None if data["too_few"] else _score(data), data["too_few"])


def _scores(data: Mapping[str, Any]) -> dict[str, Score]:
    kinds, groups = data.get("by_type") or {}, data.get("by_group") or {}
    joined = {title: _score(groups[name]) for title, name in GROUPED_KINDS.items() if name in groups}
    return {ALL: _score(data)} | joined | {kind: _score(each) for kind, each in kinds.items()}


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
