"""Right side of the Sweep: status, chart, film-strip, table and the downloads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..arena.outputs import SIGNS, no_file
from ..charts.sweep import NAMES, Bar, sweep_chart
from ..runs.progress import Round
from ..runs.table import caption
from .table import HEADERS, TYPES, WIDTHS, table

START = "Press **Run**: the same question, with fewer and fewer visual tokens."
SORT = "**Single runs, not a benchmark:** repeat them, and times will differ."
READ = "= the baseline's answer, ≠ another one."


@dataclass(frozen=True)
class SweepBoard:
    """The widgets that a sweep fills."""

    status: gr.Markdown
    hint: gr.Markdown
    box: gr.Column
    chart: gr.Plot
    strip: gr.Gallery
    table: gr.Dataframe
    files: tuple[gr.DownloadButton, ...]  # JSON, CSV, PNG

    @property
    def outputs(self) -> list[Any]:
        """Outputs of every handler that fills the board."""
        return [self.status, self.hint, self.box, self.chart, self.strip, self.table, *self.files]

    def clear(self, status: str | None = None) -> dict[Any, Any]:
        """Nothing has run."""
        empty: dict[Any, Any] = {self.status: status or START, self.hint: gr.update(value="", visible=False)}
        empty |= {self.table: {"headers": HEADERS, "data": []}, self.strip: None, self.chart: None}
        return empty | {self.box: gr.update(visible=False)} | dict.fromkeys(self.files, no_file())


def sweep_board() -> SweepBoard:
    """Build the right column."""
    status = gr.Markdown(START, elem_id="sweep-status")
    hint = gr.Markdown(visible=False, elem_id="sweep-hint")
    with gr.Column(visible=False) as box:
        strip = gr.Gallery(
            show_label=False,
            label="The picture with the tokens marked that each retention keeps",
            height="auto",
            object_fit="contain",
            interactive=False,
            buttons=["download", "fullscreen"],
            elem_id="sweep-strip",
        )
        gr.Markdown(SIGNS, elem_classes="quiet")
        gr.Markdown("## Time to the first word", elem_classes="section")
        chart = gr.Plot(show_label=False, label="Time to the first word", container=False, elem_id="sweep-chart")
        gr.Markdown(READ, elem_classes="quiet")
    frame = gr.Dataframe(
        headers=HEADERS,
        datatype=TYPES,
        column_widths=WIDTHS,
        pinned_columns=1,
        interactive=False,
        wrap=True,
        max_height=620,
        label="Answers and numbers",
        show_label=False,
        buttons=["fullscreen", "copy"],
        elem_id="sweep-table",
    )
    with gr.Row(elem_id="sweep-save"):
        gr.Markdown(SORT, elem_classes="quiet")
        kinds = (("json", "Save numbers (JSON)"), ("csv", "Save table (CSV)"), ("png", "Save page (PNG)"))
        files = [gr.DownloadButton(text, size="sm", interactive=False, elem_id=f"sweep-{kind}") for kind, text in kinds]
    return SweepBoard(status, hint, box, chart, strip, frame, tuple(files))


def fill(widgets: SweepBoard, now: Round, noise: str | None = None) -> dict[Any, Any]:
    """A moment of a sweep as updates; chart and downloads come when runs have ended."""
    pictures = [(entry.picture, caption(entry, noise is None)) for entry in now.entries if entry.picture]
    return {
        widgets.status: now.status,
        widgets.hint: gr.update(value=now.hint or "", visible=bool(now.hint)),
        widgets.table: table(now, noise),
        widgets.strip: pictures,
        widgets.box: gr.update(visible=now.some),
    }


def chart(now: Round, noise: str | None) -> Any:
    """The chart of the runs that have ended."""
    bars = [
        Bar(
            entry.title,
            {stage: entry.answer["timings"][f"{stage}_ms"] for stage in NAMES},
            None if noise else entry.same,
        )
        for entry in now.entries
        if entry.answer
    ]
    return sweep_chart(bars)
