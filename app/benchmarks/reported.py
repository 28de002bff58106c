"""Tables that papers report: `assets/reported/*.json`. Nothing in here was measured by this project."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vscan_core.resources import asset

from .. import formatting
from ..charts.curves import Level, Line, Point

FOLDER = asset("reported")
Number = float | None


@dataclass(frozen=True)
class Group:
    """The rows of one budget, or of one part of an ablation."""

    kept: str
    retention: float | None
    rows: Mapping[str, Sequence[Number]]


@dataclass(frozen=True)
class Table:
    """One published table."""

    title: str
    source: str
    arxiv: str | None
    unit: str
    columns: list[str]
    dense: list[Number] | None
    groups: list[Group]
    notes: list[str]

    @property
    def drawable(self) -> bool:
        """Whether it has at least two budgets, so that there is a curve."""
        return len({group.retention for group in self.groups if group.retention}) > 1

    @property
    def main_column(self) -> str:
        """The average, if there is one."""
        return "Average" if "Average" in self.columns else self.columns[0]


def reported(folder: Path = FOLDER) -> dict[str, dict[str, Table]]:
    """{model: {title: table}}; models with the most tables first."""
    found = {}
    for path in folder.glob("*.json"):
        data = json.loads(path.read_text(encoding="utf-8"))
        tables = [_table(each) for each in data["tables"]]
        found[str(data["model"])] = {table.title: table for table in tables}
    return dict(sorted(found.items(), key=lambda entry: (-len(entry[1]), entry[0])))


def _table(data: dict[str, Any]) -> Table:
    return Table(**data | {"groups": [Group(**group) for group in data["groups"]]})


def lines(table: Table, column: str) -> list[Line]:
    """One line per method that has at least two budgets."""
    place = table.columns.index(column)
    points: dict[str, list[Point]] = {}
    for group in sorted(table.groups, key=lambda group: -(group.retention or 0)):
        for method, values in group.rows.items():
            value = values[place]
            if value is not None and group.retention:
                points.setdefault(method, []).append(Point(group.retention, value, value, value))
    return [Line(method, found, ours=method == "VScan") for method, found in points.items()]


def levels(table: Table, column: str) -> list[Level]:
    """The dense model."""
    dense = table.dense[table.columns.index(column)] if table.dense else None
    return [] if dense is None else [Level("all tokens", dense, True)]


def cells(table: Table) -> dict[str, Any]:
    """All rows as a value of a Dataframe, the dense model first."""
    rows: list[tuple[str, str, Sequence[Number]]] = [("all tokens", "dense model", table.dense)] if table.dense else []
    rows += [(group.kept, method, values) for group in table.groups for method, values in group.rows.items()]
    return {
        "headers": ["Tokens kept" if any(group.retention for group in table.groups) else "Setting", "Method",
                    *table.columns],
        "data": [[kept, method, *values] for kept, method, values in rows],
        "metadata": {"display_value": [[kept, method, *map(_written, values)] for kept, method, values in rows]},
    }  # fmt: skip


def _written(value: Number) -> str:
    return formatting.NOTHING if value is None else str(value)  # with the decimals that were printed


def origin(table: Table) -> str:
    """Source, unit and caveats as Markdown."""
    link = f", [arXiv {table.arxiv}](https://arxiv.org/abs/{table.arxiv})" if table.arxiv else ""
    text = f"**Source:** {table.source}{link}. {table.unit}"
    return "\n".join([text, "", *(f"- {note}" for note in table.notes)])
