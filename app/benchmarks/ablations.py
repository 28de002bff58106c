"""A record of ablations as values with intervals and as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from .. import formatting
from ..charts.intervals import Interval, interval_chart
from ..ui.dataframe import dataframe_value, text_cell
from .accuracy import written
from .records import AccuracyRecord, Row

PUBLISHED_GROUP = "published"  # in the name of the group that changes nothing


@dataclass(frozen=True)
class AblationView:
    """What of a record is shown."""

    record: AccuracyRecord
    kind: str  # of question
    retention: float

    @property
    def rows(self) -> list[Row]:
        """The rows that have such a score."""
        return [row for row in self.record.rows if row.retention == self.retention and self.kind in row.scores]


def ablation_intervals(view: AblationView) -> go.Figure:
    """Accuracy of every variant, and VScan as published to compare with."""
    published = [100 * row.scores[view.kind].accuracy for row in view.rows if _is_published(row)]
    return interval_chart(ablation_groups(view), "accuracy (%)", line=published[0] if published else None)


def ablation_groups(view: AblationView) -> list[tuple[str, list[Interval]]]:
    """Variants by the part that they change."""
    found: dict[str, list[Interval]] = {}
    for row in view.rows:
        score = row.scores[view.kind]
        low, high = score.interval or (score.accuracy, score.accuracy)
        interval = Interval(row.variant, 100 * score.accuracy, 100 * low, 100 * high, _is_published(row))
        found.setdefault(row.group, []).append(interval)
    return list(found.items())


def ablation_table(view: AblationView) -> dict[str, Any]:
    """One row per variant, as a value of a Dataframe."""
    return dataframe_value(
        ["Part", "Variant", "Visual tokens", "Accuracy (%)", "p, against all tokens", "Command"],
        [
            [
                text_cell(row.group),
                text_cell(row.variant),
                (row.kept, formatting.NOTHING if row.kept is None else formatting.count(row.kept)),
                (row.scores[view.kind].accuracy, written(row.scores[view.kind])),
                (row.p_value, formatting.NOTHING if row.p_value is None else f"{row.p_value:.2g}"),
                text_cell(row.command),
            ]
            for row in view.rows
        ],
    )


def _is_published(row: Row) -> bool:
    return PUBLISHED_GROUP in row.group
