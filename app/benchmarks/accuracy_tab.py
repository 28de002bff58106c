"""The curves of all methods: accuracy over retention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ..ui.charts import Chart
from ..ui.errors import answering
from ..ui.events import PREVIEW
from .accuracy import AccuracyView, accuracy_curves, accuracy_table, highlighted, table_notes
from .records import ALL, RECORDED_FOLDER, AccuracyRecord, source_line
from .widgets import bench_plots, bench_table, found_records, record_buttons, record_files, table_update

INTERVALS = (
    "The shaded band and the error bars are 95 % intervals. Thin grey lines are the other methods; point at one to "
    "see its name."
)
CHARTS = (Chart("Accuracy over retention", "accuracy-chart", accuracy_curves),)


class AccuracyTab:
    """Accuracy over retention, every method."""

    def __init__(self, titles: Mapping[str, str], folder: Path = RECORDED_FOLDER) -> None:
        self.titles = titles
        found = found_records("accuracy", "python -m benchmarks.accuracy", folder)
        self.records = {record.title: record for record in found}
        if found:
            self._build(found[0])

    def _build(self, first: AccuracyRecord) -> None:
        view = AccuracyView(first, ALL, highlighted(first), self.titles)
        with gr.Row():
            record = gr.Dropdown(
                list(self.records), value=first.title, label="Model and task", filterable=False,
                visible=len(self.records) > 1, elem_id="accuracy-record",
            )  # fmt: skip
            kind = gr.Dropdown(
                first.kinds, value=ALL, label="Questions", filterable=False, elem_id="accuracy-kind", min_width=220
            )
            chosen = gr.Dropdown(
                self._choices(first), value=view.chosen, label="Methods that stand out", multiselect=True,
                elem_id="accuracy-methods", scale=3, min_width=300,
            )  # fmt: skip
        plots = bench_plots(CHARTS, view)
        gr.Markdown(INTERVALS, elem_classes="quiet")
        source = gr.Markdown(source_line(first.facts), elem_id="accuracy-source", elem_classes="quiet")
        table = bench_table(accuracy_table(first, ALL, self.titles), "accuracy")
        notes = gr.Markdown(table_notes(first, ALL, self.titles), elem_id="accuracy-notes", elem_classes="quiet")
        buttons = record_buttons(first)
        self.cache = buttons[0].GRADIO_CACHE
        filled = [*plots, table, notes]
        gr.on([kind.input, chosen.change], self.on_change, [record, kind, chosen], filled, **PREVIEW)
        record.input(self.on_record, record, [kind, chosen, source, *buttons, *filled], **PREVIEW)

    @answering
    def on_change(self, record: str, kind: str, chosen: Sequence[str]) -> tuple[Any, ...]:
        """Another type of question, or other methods: charts, table and its notes."""
        found = self.records[record]
        view = AccuracyView(found, kind if kind in found.kinds else ALL, chosen, self.titles)
        table = table_update(accuracy_table(found, view.kind, self.titles))
        return *(chart.draw(view) for chart in CHARTS), table, table_notes(found, view.kind, self.titles)

    @answering
    def on_record(self, record: str) -> tuple[Any, ...]:
        """Another record: everything."""
        found = self.records[record]
        chosen = highlighted(found)
        menus = gr.update(choices=found.kinds, value=ALL), gr.update(choices=self._choices(found), value=chosen)
        files = record_files(found, self.cache)
        return *menus, source_line(found.facts), *files, *self.on_change(record, ALL, chosen)

    def _choices(self, record: AccuracyRecord) -> list[tuple[str, str | int | float]]:
        return [(self.titles.get(name, name), name) for name in record.methods]
