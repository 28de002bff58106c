"""The Benchmarks tab: what this project measured, and, apart from it, what papers report."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..charts.curves import curve_chart
from ..session.session import Session
from ..ui.errors import answering
from ..ui.events import PREVIEW
from .records import FOLDER, made
from .reported import Table, cells, levels, lines, origin, reported
from .sections import AccuracySection, PartsSection, plot_of, shown, table_of
from .speed import Speed, speeds

ACCURACY = "How often the embedded model is right with fewer visual tokens. Measured by this project, recorded here."
PARTS = "What each part of VScan is good for: one is changed at a time. Measured by this project, recorded here."
SPEED = "What fewer visual tokens save. Measured by this project, recorded here, on the hardware named below."
REPORTED = (
    "**Reported by the papers named below, not measured by this project.** Papers differ in prompts, checkpoints and "
    "in what they call a budget: compare within a table, not across tables."
)


def benchmarks_tab(session: Session, folder: Any = FOLDER) -> None:
    """Build the tab; `folder` holds the records of accuracy."""
    titles = {name: method.title for name, method in session.engine.methods().items()}
    with gr.Tabs(elem_id="benchmarks"):
        with gr.Tab("Accuracy", id="accuracy"):
            gr.Markdown(ACCURACY)
            AccuracySection(titles, folder)
        with gr.Tab("Ablations", id="parts"):
            gr.Markdown(PARTS)
            PartsSection(folder)
        with gr.Tab("Speed", id="speed"):
            gr.Markdown(SPEED)
            SpeedSection(speeds(titles=titles))
        with gr.Tab("Papers", id="papers"):
            gr.Markdown(REPORTED, elem_id="reported-warning")
            ReportedSection()


class SpeedSection:
    """One record of speed at a time."""

    def __init__(self, found: dict[str, Speed]) -> None:
        self.speeds = found
        if not found:
            gr.Markdown("Nothing is recorded here: `python -m benchmarks.prefill` measures it.")
            return
        name, first = next(iter(found.items()))
        choices = [(speed.title, key) for key, speed in found.items()]
        record = gr.Dropdown(choices, value=name, label="Record", filterable=False, elem_id="speed-record")
        chart = plot_of(first.figure, "Speed", "speed")
        note = gr.Markdown(first.note, elem_classes="quiet")
        source = gr.Markdown(made(first.facts), elem_id="speed-source", elem_classes="quiet")
        table = table_of(_value(first), "speed")
        record.input(self.on_change, record, [chart, note, source, table], **PREVIEW)

    @answering
    def on_change(self, name: str) -> tuple[Any, str, str, dict[str, Any]]:
        """Another record."""
        speed = self.speeds[name]
        return speed.figure, speed.note, made(speed.facts), shown(_value(speed))


def _value(speed: Speed) -> dict[str, Any]:
    return {"headers": speed.headers, "data": speed.data, "metadata": {"display_value": speed.shown}}


class ReportedSection:
    """One published table at a time."""

    def __init__(self) -> None:
        self.models = reported()
        model_name, tables = next(iter(self.models.items()))
        first = next(iter(tables.values()))
        with gr.Row():
            model = gr.Dropdown(
                list(self.models),
                value=model_name,
                label="Model",
                filterable=False,
                elem_id="reported-model",
                min_width=160,
            )
            table = gr.Dropdown(
                list(tables),
                value=first.title,
                label="Table",
                filterable=False,
                elem_id="reported-title",
                scale=2,
                min_width=300,
            )
            column = gr.Dropdown(
                first.columns, value=first.main_column, label="Draw", filterable=False, elem_id="reported-column"
            )
        with gr.Column() as box:
            chart = plot_of(self._figure(first, first.main_column), "Published numbers", "reported")
        source = gr.Markdown(origin(first), elem_id="reported-source")
        frame = table_of(cells(first), "reported")
        filled = [column, box, chart, source, frame]
        model.input(self.on_model, model, [table, *filled], **PREVIEW)
        table.input(self.on_table, [model, table], filled, **PREVIEW)
        column.input(self.on_column, [model, table, column], chart, **PREVIEW)

    @answering
    def on_model(self, model: str) -> tuple[Any, ...]:
        """Another model: its first table."""
        titles = list(self.models[model])
        return gr.update(choices=titles, value=titles[0]), *self.on_table(model, titles[0])

    @answering
    def on_table(self, model: str, title: str) -> tuple[Any, ...]:
        """Another table."""
        table = self.models[model][title]
        column = gr.update(choices=table.columns, value=table.main_column, visible=table.drawable)
        figure = self._figure(table, table.main_column) if table.drawable else None
        return column, gr.update(visible=table.drawable), figure, origin(table), shown(cells(table))

    @answering
    def on_column(self, model: str, title: str, column: str) -> Any:
        """Another column of the same table."""
        return self._figure(self.models[model][title], column)

    def _figure(self, table: Table, column: str) -> Any:
        return curve_chart(lines(table, column), levels(table, column), f"{column}, as reported")
