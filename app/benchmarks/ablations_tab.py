"""VScan with one part changed at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from .. import formatting
from ..ui.charts import Chart
from ..ui.errors import answering
from ..ui.events import PREVIEW
from .ablations import AblationView, ablation_intervals, ablation_table
from .records import ALL, RECORDED_FOLDER, AccuracyRecord, source_line
from .widgets import bench_plots, bench_table, found_records, record_buttons, table_update

COLOURS_NOTE = "Orange marks VScan as published; the dotted line repeats its accuracy. Error bars are 95 % intervals."
CHARTS = (Chart("Accuracy of VScan with one part changed", "ablations-chart", ablation_intervals),)


class AblationsTab:
    """The accuracy of every variant, by the part that it changes."""

    def __init__(self, folder: Path = RECORDED_FOLDER) -> None:
        found = found_records("ablations", "python -m benchmarks.accuracy --ablations", folder)
        if found:
            self.record = found[0]
            self._build(self.record)

    def _build(self, record: AccuracyRecord) -> None:
        smallest = record.retentions[-1]
        with gr.Row():
            kind = gr.Dropdown(record.kinds, value=ALL, label="Questions", filterable=False, elem_id="ablations-kind")
            share = gr.Dropdown(
                [(formatting.percent(share), str(share)) for share in record.retentions], value=str(smallest),
                label="Visual tokens kept", filterable=False, elem_id="ablations-retention",
            )  # fmt: skip
        view = AblationView(record, ALL, smallest)
        plots = bench_plots(CHARTS, view)
        gr.Markdown(COLOURS_NOTE, elem_classes="quiet")
        gr.Markdown(source_line(record.facts), elem_id="ablations-source", elem_classes="quiet")
        table = bench_table(ablation_table(view), "ablations")
        record_buttons(record)
        gr.on([kind.input, share.input], self.on_change, [kind, share], [*plots, table], **PREVIEW)

    @answering
    def on_change(self, kind: str, retention: str) -> tuple[Any, ...]:
        """Another type of question or budget."""
        view = AblationView(self.record, kind, float(retention))
        return *(chart.draw(view) for chart in CHARTS), table_update(ablation_table(view))
