"""What all tabs of the Benchmarks page are made of: tables, charts, downloads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache

from vscan_core.errors import InputError

from ..ui.charts import Chart, Result, chart_plot
from .accuracy import record_as_csv
from .records import AccuracyRecord, accuracy_records

ABSENT = (
    "Nothing is recorded yet. In a checkout of the repository, `{command}` measures it and writes "
    "`assets/recorded/{name}`."
)


def bench_table(value: dict[str, Any], place: str) -> gr.Dataframe:
    """A table that scrolls by itself and sorts by its headings."""
    return gr.Dataframe(
        value=value, column_widths=[*column_widths(value)], interactive=False, wrap=False, pinned_columns=1,
        max_height=620, show_label=False, label="Numbers", buttons=["fullscreen", "copy"], elem_id=f"{place}-table",
        elem_classes="bench-table",
    )  # fmt: skip


def table_update(value: dict[str, Any]) -> dict[str, Any]:
    """The update that fills such a table."""
    update: dict[str, Any] = gr.update(value=value, column_widths=column_widths(value))
    return update


def column_widths(value: dict[str, Any]) -> list[str]:
    """Room for the heading with its button, and for the longest cell."""
    columns = zip(value["headers"], *value["metadata"]["display_value"], strict=False)
    return [f"{max(8 * len(head) + 68, *(8 * len(cell) + 24 for cell in cells), 0)}px" for head, *cells in columns]


def bench_plots(charts: Sequence[Chart[Result]], result: Result) -> list[gr.Plot]:
    """The charts of a tab."""
    return [chart_plot(chart, chart.draw(result), "bench-chart") for chart in charts]


def found_records(prefix: str, command: str, folder: Path) -> list[AccuracyRecord]:
    """The records, or a sentence on the page that says how to make one."""
    try:
        found = accuracy_records(prefix, folder)
    except InputError as error:
        gr.Markdown(str(error))
        return []
    if not found:
        gr.Markdown(ABSENT.format(command=command, name=f"{prefix}_mini.json"), elem_id=f"no-{prefix}")
    return found


def record_buttons(record: AccuracyRecord) -> tuple[gr.DownloadButton, gr.DownloadButton]:
    """The record as it is, and as a table."""
    with gr.Row(elem_classes="bench-save"):
        both = [gr.DownloadButton(text, size="sm") for text in ("Save record (JSON)", "Save table (CSV)")]
    for button, value in zip(both, record_files(record, both[0].GRADIO_CACHE), strict=True):
        button.value = button.postprocess(value)
    return both[0], both[1]


def record_files(record: AccuracyRecord, cache: str) -> list[str]:
    """Files for both buttons."""
    contents = {".json": record.path.read_bytes(), ".csv": record_as_csv(record)}
    return [save_bytes_to_cache(data, record.path.stem + ending, cache) for ending, data in contents.items()]
