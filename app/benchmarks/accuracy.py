"""A record of accuracy as lines to draw and rows to read."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from .. import formatting
from ..charts.curves import Level, Line, Point
from .records import ALL, Record, Row, Score

USUAL = ("vscan", "visionzip", "divprune", "fastv", "random", "grid")  # chosen at first, as far as recorded
REFERENCES = ("random", "grid", "downsample")  # what any method should beat
LEVELS = {"dense": "all tokens", "majority": "commonest answer", "floor": "no picture"}
SIGNIFICANT = 0.05
MARK = "†"


def usual(record: Record) -> list[str]:
    """The methods that stand out at first."""
    return [name for name in USUAL if name in record.methods] or record.methods[:4]


def lines(record: Record, kind: str, chosen: Sequence[str], titles: Mapping[str, str]) -> list[Line]:
    """One line per method; those that are not chosen stay in the background."""
    found = []
    for method in record.methods:
        rows = sorted((row for row in record.rows if row.method == method and kind in row.scores), key=_retention)
        if rows:
            points = [_point(row, row.scores[kind]) for row in rows]
            name = titles.get(method, method)
            found.append(Line(name, points, method in chosen, method == "vscan", method in REFERENCES))
    return found


def _retention(row: Row) -> float:
    return -row.retention


def _point(row: Row, score: Score) -> Point:
    lo, hi = score.interval or (score.accuracy, score.accuracy)
    return Point(row.retention, 100 * score.accuracy, 100 * lo, 100 * hi)


def levels(record: Record, kind: str) -> list[Level]:
    """The dense model, and what needs no picture; the lowest has its name below."""
    found = {title: scores[kind].accuracy for name, title in LEVELS.items()
             if kind in (scores := record.levels.get(name, {}))}  # fmt: skip
    lowest = min(found.values(), default=0)
    return [Level(title, 100 * value, value > lowest or len(found) == 1) for title, value in found.items()]


def table(record: Record, kind: str, titles: Mapping[str, str]) -> dict[str, Any]:
    """Methods down, retentions across; a value of a Dataframe whose cells sort by accuracy."""
    shares = record.retentions
    data, shown = [], []
    for method in record.methods:
        by_share = {row.retention: row for row in record.rows if row.method == method}
        cells = [_cell(by_share.get(share), kind) for share in shares]
        data.append([titles.get(method, method), *(value for value, _ in cells)])
        shown.append([titles.get(method, method), *(text for _, text in cells)])
    headers = ["Method", *(formatting.percent(share) for share in shares)]
    return {"headers": headers, "data": data, "metadata": {"display_value": shown}}


def _cell(row: Row | None, kind: str) -> tuple[float | None, str]:
    if row is None or kind not in row.scores:
        return None, formatting.NOTHING
    mark = f" {MARK}" if kind == ALL and row.p_value is not None and row.p_value < SIGNIFICANT else ""
    score = row.scores[kind]
    return score.accuracy, written(score) + mark


def written(score: Score) -> str:
    """ "87.5 (84.1 to 90.2)"."""
    text = f"{100 * score.accuracy:.1f}"
    return f"{text} ({100 * score.interval[0]:.1f} to {100 * score.interval[1]:.1f})" if score.interval else text


def notes(record: Record, kind: str, titles: Mapping[str, str]) -> str:
    """What the table needs to be read: Markdown."""
    found = ["Accuracy in %, with 95 % intervals. The dots beside a heading sort the table."]
    if how := record.facts.get("intervals"):
        found.append(f"Intervals: {how}.")
    if kind == ALL and any(row.p_value is not None for row in record.rows):
        found.append(f"{MARK} differs from all tokens (paired test, p < {SIGNIFICANT}).")
    known = [f"{title} {written(scores[kind])}" for name, title in LEVELS.items()
             if kind in (scores := record.levels.get(name, {}))]  # fmt: skip
    if known:
        found.append(f"For comparison: {'; '.join(known)}.")
    refused: dict[str, list[str]] = {}
    for row in record.rows:
        if row.refused:
            refused.setdefault(titles.get(row.method, row.method), []).append(formatting.percent(row.retention))
    if refused:
        out_of_reach = "; ".join(f"{name} at {', '.join(shares)}" for name, shares in refused.items())
        found.append(f"Out of reach on this model: {out_of_reach}.")
    return " ".join(found)


def as_csv(record: Record) -> bytes:
    """Every row by question type, one line each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["group", "variant", "method", "retention", "kept_tokens_mean", "questions", "n", "accuracy", "low", "high"]
    writer.writerow([*head, "relative", "p_value", "refused"])
    for name, scores in record.levels.items():
        for kind, score in scores.items():
            writer.writerow(["", "", name, "", "", kind, *_numbers(score), "", "", ""])
    for row in record.rows:
        start = [row.group, row.variant, row.method, row.retention, row.kept]
        for kind, score in row.scores.items():
            compared = [row.relative, row.p_value] if kind == ALL else ["", ""]
            writer.writerow([*start, kind, *_numbers(score), *compared, ""])
        if row.refused:
            writer.writerow([*start, *[""] * 7, row.refused])
    return text.getvalue().encode()


def _numbers(score: Score) -> list[Any]:
    return [score.n, score.accuracy, *(score.interval or ("", ""))]
