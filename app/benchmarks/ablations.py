"""A record of ablations as intervals to draw and rows to read."""

from __future__ import annotations

from typing import Any

from .. import formatting
from ..charts.intervals import Interval
from .accuracy import written
from .records import Record, Row

WHOLE = "published"  # in the name of the group that changes nothing


def groups(record: Record, kind: str, retention: float) -> list[tuple[str, list[Interval]]]:
    """Variants by the part that they change."""
    found: dict[str, list[Interval]] = {}
    for row in _rows(record, kind, retention):
        score = row.scores[kind]
        low, high = score.interval or (score.accuracy, score.accuracy)
        interval = Interval(row.variant, 100 * score.accuracy, 100 * low, 100 * high, WHOLE in row.group)
        found.setdefault(row.group, []).append(interval)
    return list(found.items())


def whole(record: Record, kind: str, retention: float) -> float | None:
    """Accuracy of VScan with no part changed, in %, if it was recorded."""
    found = [row for row in _rows(record, kind, retention) if WHOLE in row.group]
    return 100 * found[0].scores[kind].accuracy if found else None


def table(record: Record, kind: str, retention: float) -> dict[str, Any]:
    """One row per variant, as a value of a Dataframe."""
    rows = _rows(record, kind, retention)
    data = [[row.group, row.variant, row.kept, row.scores[kind].accuracy, row.p_value] for row in rows]
    shown = [
        [
            row.group,
            row.variant,
            formatting.NOTHING if row.kept is None else formatting.count(row.kept),
            written(row.scores[kind]),
            formatting.NOTHING if row.p_value is None else f"{row.p_value:.2g}",
        ]
        for row in rows
    ]
    headers = ["Part", "Variant", "Visual tokens", "Accuracy (%)", "p, against all tokens"]
    return {"headers": headers, "data": data, "metadata": {"display_value": shown}}


def _rows(record: Record, kind: str, retention: float) -> list[Row]:
    return [row for row in record.rows if row.retention == retention and kind in row.scores]
