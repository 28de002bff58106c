"""Right side of a page of several runs: status, table, pictures, charts and files. Each page puts them in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import gradio as gr
from PIL import Image

from ..ui.charts import Chart, chart_plot
from ..ui.saving import saved_file
from .progress import RunsSnapshot, RunState
from .table import REPLACED_LEGEND, TOKEN_LEGEND, RunsTable, caption

SAVES = {
    "json": "Save numbers (JSON)", "csv": "Save table (CSV)", "png": "Save page (PNG)", "html": "Save report (HTML)",
}  # fmt: skip

RunsChart: TypeAlias = Chart[Sequence[RunState]]


@dataclass(frozen=True)
class RunsOutputs:
    """The widgets that runs fill."""

    start: str  # the status before anything has run
    columns: RunsTable
    status: gr.Markdown
    hint: gr.Markdown
    table: gr.Dataframe
    gallery: gr.Gallery
    box: gr.Column  # hidden until there is something to see in it
    saves: dict[str, gr.Button]  # by file name extension
    file: gr.File  # what was saved last; never shown
    charts: Sequence[RunsChart] = ()
    plots: Sequence[gr.Plot] = ()
    planned: Sequence[str] = ()  # titles of the tiles before anything has run

    @property
    def widgets(self) -> list[Any]:
        """Outputs of every handler that fills them."""
        return [
            self.status, self.hint, self.box, *self.plots, self.gallery, self.table, *self.saves.values(),
        ]  # fmt: skip

    def clear(self, status: str | None = None) -> dict[Any, Any]:
        """Nothing has run."""
        empty: dict[Any, Any] = {
            self.status: status or self.start,
            self.hint: gr.update(value="", visible=False),
            self.box: gr.update(visible=False),
            self.gallery: waiting_tiles(self.planned),
            self.table: {"headers": self.columns.headers, "data": []},
        }
        return empty | dict.fromkeys(self.plots) | self.no_files()

    def fill(self, now: RunsSnapshot) -> dict[Any, Any]:
        """Everything but charts and buttons, which come when runs have ended. Tiles are there from the start."""
        pictures = [
            (run.picture, caption(run)) if run.picture else waiting_tiles([run.title])[0]
            for run in now.runs[1:]
            if not run.problem
        ]
        return {
            self.status: now.status,
            self.hint: gr.update(value=now.notes, visible=bool(now.notes)),
            self.box: gr.update(visible=bool(pictures or (self.charts and now.started))),
            self.gallery: pictures,
            self.table: self.columns.value(now),
        }

    def no_files(self) -> dict[Any, Any]:
        """Nothing to save."""
        return {button: gr.update(interactive=False) for button in self.saves.values()}


def waiting_tiles(titles: Sequence[str]) -> list[tuple[Any, str]]:
    """A grey tile for each run that has no picture yet, so that nothing jumps when the pictures come."""
    return [(Image.new("RGBA", (4, 3), (128, 128, 128, 40)), f"{title} …") for title in titles]


def status_lines(place: str, start: str) -> tuple[gr.Markdown, gr.Markdown]:
    """What goes on, and what the model says about the picture as a whole."""
    return gr.Markdown(start, elem_id=f"{place}status"), gr.Markdown(visible=False, elem_id=f"{place}hint")


def runs_dataframe(place: str, columns: RunsTable) -> gr.Dataframe:
    """The table, empty; it scrolls by itself."""
    return gr.Dataframe(
        headers=columns.headers,
        datatype=columns.types,
        column_widths=[*columns.widths],
        pinned_columns=1,
        interactive=False,
        wrap=True,
        max_height=620,
        label="Answers and numbers",
        show_label=False,
        buttons=["fullscreen", "copy"],
        elem_id=f"{place}table",
    )


def saving_row(place: str, note: str, extensions: Sequence[str]) -> tuple[dict[str, gr.Button], gr.File]:
    """A note, one button per kind of file, and where the file goes."""
    with gr.Row(elem_id=f"{place}save"):
        gr.Markdown(note, elem_classes="quiet")
        buttons = {
            extension: gr.Button(SAVES[extension], size="sm", interactive=False, elem_id=f"{place}{extension}")
            for extension in extensions
        }
    return buttons, saved_file(f"{place}saved-file")


def token_gallery(elem_id: str, label: str, planned: Sequence[str], columns: int | None = 2) -> gr.Gallery:
    """The picture once per run, with its tokens marked, and what the marks mean; one tile per planned run at first."""
    gallery = gr.Gallery(
        value=waiting_tiles(planned),
        show_label=False,
        label=label,
        columns=columns,
        height="auto",
        object_fit="contain",
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id=elem_id,
    )
    gr.Markdown(f"{TOKEN_LEGEND}\n\n{REPLACED_LEGEND}", elem_classes="quiet")
    return gallery


def chart_sections(charts: Sequence[RunsChart]) -> list[gr.Plot]:
    """Every chart under its title, with its note below."""
    plots = []
    for chart in charts:
        gr.Markdown(f"## {chart.title}", elem_classes="section")
        plots.append(chart_plot(chart))
        gr.Markdown(chart.note, elem_classes="quiet")
    return plots
