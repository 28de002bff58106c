"""What fewer visual tokens save: one record of speed at a time."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import gradio as gr

from ..ui.charts import Chart
from ..ui.errors import answering
from ..ui.events import PREVIEW
from .records import source_line
from .speed import SpeedRecord
from .widgets import bench_plots, bench_table, table_update

ABSENT_SPEED = "Nothing is recorded yet. In a checkout of the repository, `python -m benchmarks.prefill` measures it."
CHARTS: tuple[Chart[SpeedRecord], ...] = (Chart("Speed", "speed-chart", attrgetter("figure")),)


class SpeedTab:
    """Charts, table and source of the chosen record."""

    def __init__(self, records: dict[str, SpeedRecord]) -> None:
        self.records = records
        if not records:
            gr.Markdown(ABSENT_SPEED)
            return
        name, first = next(iter(records.items()))
        choices: list[tuple[str, str | int | float]] = [(record.title, key) for key, record in records.items()]
        chosen = gr.Dropdown(choices, value=name, label="Record", filterable=False, elem_id="speed-record")
        plots = bench_plots(CHARTS, first)
        note = gr.Markdown(first.note, elem_classes="quiet")
        source = gr.Markdown(source_line(first.facts), elem_id="speed-source", elem_classes="quiet")
        table = bench_table(first.table, "speed")
        chosen.input(self.on_change, chosen, [*plots, note, source, table], **PREVIEW)

    @answering
    def on_change(self, name: str) -> tuple[Any, ...]:
        """Another record."""
        record = self.records[name]
        figures = [chart.draw(record) for chart in CHARTS]
        return *figures, record.note, source_line(record.facts), table_update(record.table)
