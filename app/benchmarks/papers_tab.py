"""Published tables, one at a time, as lines where there are several budgets."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..ui.charts import Chart, chart_updates
from ..ui.errors import answering
from ..ui.events import PREVIEW
from .reported import ReportedView, reported_cells, reported_curves, reported_tables, source_note
from .widgets import bench_plots, bench_table, table_update

CHARTS = (Chart("Published numbers", "reported-chart", reported_curves),)


class PapersTab:
    """Charts, source and all numbers of the chosen table."""

    def __init__(self) -> None:
        self.models = reported_tables()
        model_name, tables = next(iter(self.models.items()))
        first = next(iter(tables.values()))
        with gr.Row():
            model = gr.Dropdown(
                list(self.models), value=model_name, label="Model", filterable=False, elem_id="reported-model",
                min_width=160,
            )  # fmt: skip
            table = gr.Dropdown(
                list(tables), value=first.title, label="Table", filterable=False, elem_id="reported-title",
                scale=2, min_width=300,
            )  # fmt: skip
            column = gr.Dropdown(
                first.columns,
                value=first.main_column,
                label="Column in the chart",
                filterable=False,
                elem_id="reported-column",
            )
        with gr.Column() as box:
            self.plots = bench_plots(CHARTS, ReportedView(first, first.main_column))
        source = gr.Markdown(source_note(first), elem_id="reported-source")
        frame = bench_table(reported_cells(first), "reported")
        filled = [column, box, *self.plots, source, frame]
        model.input(self.on_model, model, [table, *filled], **PREVIEW)
        table.input(self.on_table, [model, table], filled, **PREVIEW)
        column.input(self.on_column, [model, table, column], self.plots, **PREVIEW)

    @answering
    def on_model(self, model: str) -> tuple[Any, ...]:
        """Another model: its first table."""
        titles = list(self.models[model])
        return gr.update(choices=titles, value=titles[0]), *self.on_table(model, titles[0])

    @answering
    def on_table(self, model: str, title: str) -> tuple[Any, ...]:
        """Another table; one without a curve hides the charts."""
        table = self.models[model][title]
        column = gr.update(choices=table.columns, value=table.main_column, visible=table.drawable)
        view = ReportedView(table, table.main_column)
        figures = [chart.draw(view) if table.drawable else None for chart in CHARTS]
        box = gr.update(visible=table.drawable)
        return column, box, *figures, source_note(table), table_update(reported_cells(table))

    @answering
    def on_column(self, model: str, title: str, column: str) -> dict[gr.Plot, Any]:
        """Another column of the same table."""
        return chart_updates(CHARTS, self.plots, ReportedView(self.models[model][title], column))
