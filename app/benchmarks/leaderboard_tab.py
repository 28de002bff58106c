"""All methods at one retention, best first, where a smaller picture would not do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from .. import formatting
from ..ui.errors import answering
from ..ui.events import PREVIEW
from .leaderboard import LeaderboardView, leaderboard_notes, leaderboard_table
from .records import FAILS, RECORDED_FOLDER, AccuracyRecord, source_line
from .widgets import bench_table, found_records, table_update

USUAL_RETENTION = 1 / 9


class LeaderboardTab:
    """One table per record and retention."""

    def __init__(self, titles: Mapping[str, str], folder: Path = RECORDED_FOLDER) -> None:
        self.titles = titles
        found = found_records("accuracy", "python -m benchmarks.accuracy", folder)
        self.records = {record.title: record for record in found}
        if found:
            self._build(found[0])

    def _build(self, first: AccuracyRecord) -> None:
        view = LeaderboardView(first, telling(first), self.titles)
        with gr.Row():
            record = gr.Dropdown(
                list(self.records), value=first.title, label="Model and task", filterable=False,
                visible=len(self.records) > 1, elem_id="leaderboard-record",
            )  # fmt: skip
            share = gr.Dropdown(
                _shares(first), value=str(view.retention), label="Visual tokens kept", filterable=False,
                elem_id="leaderboard-retention",
            )  # fmt: skip
        table = bench_table(leaderboard_table(view), "leaderboard")
        notes = gr.Markdown(leaderboard_notes(view), elem_id="leaderboard-notes", elem_classes="quiet")
        source = gr.Markdown(source_line(first.facts), elem_id="leaderboard-source", elem_classes="quiet")
        share.input(self.on_share, [record, share], [table, notes], **PREVIEW)
        record.input(self.on_leaderboard, record, [share, source, table, notes], **PREVIEW)

    @answering
    def on_share(self, record: str, retention: str) -> tuple[Any, ...]:
        """Another budget."""
        return self._shown(LeaderboardView(self.records[record], float(retention), self.titles))

    @answering
    def on_leaderboard(self, record: str) -> tuple[Any, ...]:
        """Another record."""
        found = self.records[record]
        share = telling(found)
        menu = gr.update(choices=_shares(found), value=str(share))
        return menu, source_line(found.facts), *self._shown(LeaderboardView(found, share, self.titles))

    def _shown(self, view: LeaderboardView) -> tuple[Any, ...]:
        return table_update(leaderboard_table(view)), leaderboard_notes(view)


def telling(record: AccuracyRecord) -> float:
    """The retention to begin with: of those at which enough questions tell methods apart, the one nearest to 1/9."""
    known = {row.retention for row in record.rows if FAILS in row.scores}
    return min(known or record.retentions, key=lambda share: abs(share - USUAL_RETENTION))


def _shares(record: AccuracyRecord) -> list[tuple[str, str | int | float]]:
    return [(formatting.percent(share), str(share)) for share in record.retentions]
