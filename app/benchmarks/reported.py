"""Tables that papers report: `assets/reported/*.json`. Nothing in here was measured by this project."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from vscan_core.resources import asset

from .. import formatting
from ..charts.curves import Level, Line, Point, curve_chart
from ..ui.dataframe import dataframe_value, text_cell
from .released import CODE_NOTE, release_of

Number = float | None
DENSE_ROW = "dense model"
CODE_HEAD = "Released code"
FLOPS_OF_PAPERS = (
    "FLOPs are the paper's own count, in general with attention in full (n²); runs in this demo count causal attention."
)


@dataclass(frozen=True)
class ReportedGroup:
    """The rows of one budget, or of one part of an ablation."""

    kept: str
    retention: float | None
    rows: Mapping[str, Sequence[Number]]
    facts: Sequence[str] = ()  # one for each name in the table's `facts`


@dataclass(frozen=True)
class ReportedTable:
    """One published table."""

    title: str
    source: str
    arxiv: str | None
    unit: str
    columns: list[str]
    dense: list[Number] | None
    groups: list[ReportedGroup]
    notes: list[str]
    facts: Sequence[str] = ()  # names of what is said in words about each group
    first: str = ""  # heading of the first column, if it is not the usual one

    @property
    def head(self) -> str:
        """What the first column holds."""
        return self.first or ("Tokens kept" if any(group.retention for group in self.groups) else "Setting")

    @property
    def drawable(self) -> bool:
        """Whether it has at least two budgets, so that there is a curve."""
        return len({group.retention for group in self.groups if group.retention}) > 1

    @property
    def main_column(self) -> str:
        """The average, if there is one."""
        return "Average" if "Average" in self.columns else self.columns[0]


def reported_tables() -> dict[str, dict[str, ReportedTable]]:
    """{model: {title: table}}; models with the most tables first."""
    found = {}
    for path in asset("reported").glob("*.json"):
        data = json.loads(path.read_text(encoding="utf-8"))
        tables = [_table(each) for each in data["tables"]]
        found[str(data["model"])] = {table.title: table for table in tables}
    return dict(sorted(found.items(), key=lambda entry: (-len(entry[1]), entry[0])))


def _table(data: dict[str, Any]) -> ReportedTable:
    return ReportedTable(**data | {"groups": [ReportedGroup(**group) for group in data["groups"]]})


@dataclass(frozen=True)
class ReportedView:
    """What of a table is drawn."""

    table: ReportedTable
    column: str


def reported_curves(view: ReportedView) -> go.Figure:
    """One column over retention, one line per method."""
    lines, levels = reported_lines(view.table, view.column), reported_levels(view.table, view.column)
    return curve_chart(lines, levels, f"{view.column}, as reported")


def reported_lines(table: ReportedTable, column: str) -> list[Line]:
    """One line per method that has at least two budgets."""
    place = table.columns.index(column)
    points: dict[str, list[Point]] = {}
    for group in sorted(table.groups, key=lambda group: -(group.retention or 0)):
        for method, values in group.rows.items():
            value = values[place]
            if value is not None and group.retention:
                points.setdefault(method, []).append(Point(group.retention, value, value, value))
    return [Line(method, found, ours=method == "VScan") for method, found in points.items()]


def reported_levels(table: ReportedTable, column: str) -> list[Level]:
    """The dense model."""
    dense = table.dense[table.columns.index(column)] if table.dense else None
    return [] if dense is None else [Level("all tokens", dense, True)]


def reported_cells(table: ReportedTable) -> dict[str, Any]:
    """All rows as a value of a Dataframe, the dense model first; methods with what is known of their released code."""
    groups = table.groups
    if table.dense:
        groups = [ReportedGroup("all tokens", None, {DENSE_ROW: table.dense}, [""] * len(table.facts)), *groups]
    code = {name: release_of(name) for group in groups for name in group.rows}
    shown = any(code.values())
    cells = [
        [
            *map(text_cell, (group.kept, name)),
            *([text_cell(found.status if (found := code[name]) else formatting.NOTHING)] if shown else []),
            *map(text_cell, group.facts),
            *((value, _written(value)) for value in values),
        ]
        for group in groups
        for name, values in group.rows.items()
    ]
    return dataframe_value([table.head, "Method", *([CODE_HEAD] if shown else []), *table.facts, *table.columns], cells)


def _written(value: Number) -> str:
    return formatting.NOTHING if value is None else str(value)  # with the decimals of the paper


def source_note(table: ReportedTable) -> str:
    """Source, unit and caveats as Markdown."""
    link = f", [arXiv {table.arxiv}](https://arxiv.org/abs/{table.arxiv})" if table.arxiv else ""
    text = f"**Source:** {table.source}{link}. {table.unit}"
    counted = [FLOPS_OF_PAPERS] if any("FLOPs" in column for column in table.columns) else []
    code = [CODE_NOTE] if any(release_of(name) for group in table.groups for name in group.rows) else []
    return "\n".join([text, "", *(f"- {note}" for note in (*table.notes, *counted, *code))])
