"""What a record of accuracy says beyond its measurements: the downsampling filter, groups of kinds, and commands.

python -m benchmarks.derived assets/recorded/accuracy_mini.json

Works all of it out anew from the scores in the file; no model runs. `benchmarks.accuracy` does so for a new record.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import vscan_core as vc
from benchmarks.provenance import write_record
from vscan_eval.command import task_named
from vscan_eval.downsample_filter import FILTERING_METHOD, downsampling_filter
from vscan_eval.replies import Condition
from vscan_eval.rerun import command_again
from vscan_eval.summary import by_group
from vscan_eval.task import Item, Task

GRID_RETENTIONS = (1 / 2, 1 / 3, 2 / 9, 1 / 9, 1 / 18, 1 / 36)
ROLES = ("dense", "floor")  # rows that all others are compared with
ROUNDED_TO = 5e-5  # half of the fourth place, at which records round


def derive(record: Mapping[str, Any], task: Task, items: Sequence[Item]) -> dict[str, Any]:
    """The record with `by_group`, `downsampling_filter` and `command` in every row that was measured.

    items: The questions, in the order of the scores. `downsample` itself, and a retention at which it was not measured,
    has no filter (None).
    """
    pictures = [item.picture for item in items]
    dense, rows = scores_of(record["dense"]), [row for row in record["rows"] if "refused" not in row]
    apart = record.get("downsample", [])  # rows beside those of ablations
    deciding = [row for row in (*rows, *apart) if row["method"] == FILTERING_METHOD]
    smaller = {row["retention"]: scores_of(row) for row in deciding}
    extra: dict[int, dict[str, Any]] = {}
    for row in (*rows, *apart):
        small = None if row["method"] == FILTERING_METHOD else smaller.get(row["retention"])
        found = None if small is None else downsampling_filter(scores_of(row), dense, small, pictures)
        extra[id(row)] = _groups(row, task, items) | {"downsampling_filter": found}
        extra[id(row)]["command"] = _command(row, record, task)
    roles: dict[str, Any] = {role: record[role] for role in ROLES if role in record}
    for role, row in roles.items():
        roles[role] = {**row, **_groups(row, task, items), "command": _command(row, record, task)}
    for name in ("rows", "downsample"):
        if name in record:
            roles[name] = [{**row, **extra.get(id(row), {})} for row in record[name]]
    completed: dict[str, Any] = rounded({**record, **roles})
    return completed


def _groups(row: Mapping[str, Any], task: Task, items: Sequence[Item]) -> dict[str, Any]:
    return {"by_group": by_group(task, items, scores_of(row))}


def _command(row: Mapping[str, Any], record: Mapping[str, Any], task: Task) -> str:
    if row["retention"] is None:
        return command_again(record["model"], task, record["n"], Condition(row["method"]))
    settings = {name: exactly(value) for name, value in row["settings"].items() if name != "retention"}
    condition = Condition.named(row["method"], exactly(row["retention"]), **settings)
    return command_again(record["model"], task, record["n"], condition)


def scores_of(row: Mapping[str, Any]) -> list[float]:
    """One score per question: written as digits where all are 0 or 1, else as numbers."""
    return [float(mark) for mark in row["scores"]]


def exactly(value: Any) -> Any:
    """0.1111 -> 1 / 9: the retention that a rounded one stands for, as far as it is one of the grid's."""
    if not isinstance(value, float):
        return value
    return next((each for each in GRID_RETENTIONS if abs(each - value) <= ROUNDED_TO), value)


def rounded(value: Any) -> Any:
    """Every float in a JSON value, at four decimal places."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0. Raises InputError if the questions of today are not those of the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    parser.add_argument("--data", type=Path, help="the task's files, if it reads any")
    options = parser.parse_args(argv)
    record = json.loads(options.record.read_text())
    task = task_named(record["task"], options.data, record["seed"])
    items = task.chosen(record["n"])
    if len(items) != record["n"] or len({item.picture for item in items}) != record["pictures"]:
        raise vc.InputError(f"{options.record} has other questions than the task {task.name} has now; measure it again")
    write_record(derive(record, task, items), options.record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
