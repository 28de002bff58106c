"""A record of accuracy as curves and as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from .. import formatting
from ..charts.curves import Level, Line, Point, curve_chart
from ..ui.dataframe import Cell, dataframe_value, text_cell
from .records import ALL, FAILS, FILTERED_KINDS, AccuracyRecord, Row, Score, measured_later

HIGHLIGHTED = ("vscan", "visionzip", "divprune", "fastv", "random", "grid")  # at first, as far as they are recorded
REFERENCES = ("random", "grid", "downsample")  # what any method should beat
LEVEL_TITLES = {"dense": "all tokens", "majority": "commonest answer", "floor": "no picture"}
SIGNIFICANT = 0.05
MARK = "†"
FILTER_NOTE = (
    f'"{FAILS}" and its counterpart divide the questions that the model with all tokens answers, by whether Downsample '
    "at the same retention still answers them (VTC-Bench, arXiv:2510.07143). What a method adds shows where Downsample "
    "fails; some of these questions are its bad luck, so compare with Random, not with 0."
)


@dataclass(frozen=True)
class AccuracyView:
    """What of a record is shown."""

    record: AccuracyRecord
    kind: str  # of question
    chosen: Sequence[str]  # methods that stand out
    titles: Mapping[str, str]  # of methods


def accuracy_curves(view: AccuracyView) -> go.Figure:
    """Accuracy over retention, every method."""
    return curve_chart(accuracy_lines(view), accuracy_levels(view.record, view.kind), "accuracy (%)")


def highlighted(record: AccuracyRecord) -> list[str]:
    """The methods that stand out at first."""
    return [name for name in HIGHLIGHTED if name in record.methods] or record.methods[:4]


def accuracy_lines(view: AccuracyView) -> list[Line]:
    """One line per method; those that are not chosen stay in the background."""
    found = []
    for method in view.record.methods:
        rows = [row for row in view.record.rows if row.method == method and view.kind in row.scores]
        if rows:
            rows = sorted(rows, key=lambda row: row.retention, reverse=True)
            points = [_point(row, row.scores[view.kind]) for row in rows]
            title = view.titles.get(method, method)
            found.append(Line(title, points, method in view.chosen, method == "vscan", method in REFERENCES))
    return found


def _point(row: Row, score: Score) -> Point:
    low, high = score.interval or (score.accuracy, score.accuracy)
    return Point(row.retention, 100 * score.accuracy, 100 * low, 100 * high)


def accuracy_levels(record: AccuracyRecord, kind: str) -> list[Level]:
    """The dense model, and what needs no picture; the lowest has its name below."""
    found = {title: scores[kind].accuracy for name, title in LEVEL_TITLES.items()
             if kind in (scores := record.levels.get(name, {}))}  # fmt: skip
    lowest = min(found.values(), default=0)
    return [Level(title, 100 * value, value > lowest or len(found) == 1) for title, value in found.items()]


def accuracy_table(record: AccuracyRecord, kind: str, titles: Mapping[str, str]) -> dict[str, Any]:
    """Methods down, retentions across; a value of a Dataframe whose cells sort by accuracy."""
    rows = {(row.method, row.retention): row for row in record.rows}
    return dataframe_value(
        ["Method", *map(formatting.percent, record.retentions)],
        [
            [text_cell(titles.get(name, name)), *(_cell(rows.get((name, share)), kind) for share in record.retentions)]
            for name in record.methods
        ],
    )


def _cell(row: Row | None, kind: str) -> Cell:
    if row is None or kind not in row.scores:
        return None, formatting.NOTHING
    significant = kind == ALL and row.p_value is not None and row.p_value < SIGNIFICANT
    return row.scores[kind].accuracy, written(row.scores[kind]) + (f" {MARK}" if significant else "")


def written(score: Score) -> str:
    """ "87.5 (84.1 to 90.2)"."""
    text = f"{100 * score.accuracy:.1f}"
    return f"{text} ({100 * score.interval[0]:.1f} to {100 * score.interval[1]:.1f})" if score.interval else text


def table_notes(record: AccuracyRecord, kind: str, titles: Mapping[str, str]) -> str:
    """How to read the table, as Markdown."""
    found = ["Accuracy in %, with 95 % intervals. The dots beside a heading sort the table."]
    if how := record.facts.get("intervals"):
        found.append(f"Intervals: {how}.")
    if kind == ALL and any(row.p_value is not None for row in record.rows):
        found.append(f"{MARK} differs from all tokens (paired test, p < {SIGNIFICANT}).")
    if kind in FILTERED_KINDS:
        found += [FILTER_NOTE, group_sizes(record, kind)]
    known = [f"{title} {written(scores[kind])}" for name, title in LEVEL_TITLES.items()
             if kind in (scores := record.levels.get(name, {}))]  # fmt: skip
    if known:
        found.append(f"For comparison: {'; '.join(known)}.")
    found += measured_later(record.rows, titles)
    refused: dict[str, list[str]] = {}
    for row in record.rows:
        if row.refused:
            refused.setdefault(titles.get(row.method, row.method), []).append(formatting.percent(row.retention))
    if refused:
        out_of_reach = "; ".join(f"{name} at {', '.join(shares)}" for name, shares in refused.items())
        found.append(f"Out of reach on this model: {out_of_reach}.")
    return " ".join(found)


def group_sizes(record: AccuracyRecord, kind: str) -> str:
    """How many questions a group of the filter has at each retention, and where they are too few to say anything."""
    groups = {row.retention: row.filtered[kind] for row in record.rows if kind in row.filtered}
    few = {True: " (too few)", False: ""}
    counts = (f"{groups[share].n:,} at {formatting.percent(share)}{few[groups[share].score is None]}"
              for share in sorted(groups, reverse=True))  # fmt: skip
    return f"Questions: {', '.join(counts)}."


def record_as_csv(record: AccuracyRecord) -> bytes:
    """Every score of every row, one line each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["group", "variant", "method", "retention", "kept_tokens_mean", "questions", "n", "accuracy", "low", "high"]
    compared = ["relative", "p_value", "only_method", "only_downsample", "p_against_downsample"]
    writer.writerow([*head, *compared, "refused", "command"])
    nothing = [""] * len(compared)
    for name, scores in record.levels.items():
        for kind, score in scores.items():
            writer.writerow(["", "", name, "", "", kind, *_numbers(score), *nothing, "", record.again.get(name, "")])
    for row in record.rows:
        start = [row.group, row.variant, row.method, row.retention, row.kept]
        pair = row.paired
        against = [pair.only_method, pair.only_downsample, pair.p_value] if pair else [""] * 3
        for kind, score in row.scores.items():
            found = [row.relative, row.p_value, *against] if kind == ALL else nothing
            writer.writerow([*start, kind, *_numbers(score), *found, "", row.command])
        if row.refused:
            writer.writerow([*start, *[""] * 5, *nothing, row.refused, ""])
    return text.getvalue().encode()


def _numbers(score: Score) -> list[Any]:
    return [score.n, score.accuracy, *(score.interval or ("", ""))]
