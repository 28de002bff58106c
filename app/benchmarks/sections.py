"""Our own records of accuracy: the curves of all methods, and VScan's parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache

from vscan_core.errors import InputError

from .. import formatting
from ..charts.curves import curve_chart
from ..charts.intervals import interval_chart
from ..ui.errors import answering
from ..ui.events import PREVIEW
from . import ablations, accuracy
from .records import ALL, FOLDER, Record, made, records

ABSENT = "Nothing is recorded yet: `{command}` measures it and writes `assets/recorded/{name}`."
READ = (
    "The shaded band and the bars are 95 % intervals. Thin grey lines are the methods that are not chosen; "
    "point at one to read its name."
)


def table_of(value: dict[str, Any], place: str) -> gr.Dataframe:
    """A table that scrolls by itself and sorts by its headings."""
    return gr.Dataframe(
        value=value, column_widths=widths(value), interactive=False, wrap=False, pinned_columns=1, max_height=620,
        show_label=False, label="Numbers", buttons=["fullscreen", "copy"], elem_id=f"{place}-table",
        elem_classes="bench-table",
    )  # fmt: skip


def shown(value: dict[str, Any]) -> dict[str, Any]:
    """The update that fills such a table."""
    update: dict[str, Any] = gr.update(value=value, column_widths=widths(value))
    return update


def widths(value: dict[str, Any]) -> list[str]:
    """Room for the heading with its button, and for the longest cell."""
    columns = zip(value["headers"], *value["metadata"]["display_value"], strict=False)
    return [f"{max(8 * len(head) + 68, *(8 * len(cell) + 24 for cell in cells), 0)}px" for head, *cells in columns]


def plot_of(figure: Any, name: str, place: str) -> gr.Plot:
    """A chart."""
    return gr.Plot(
        value=figure,
        show_label=False,
        label=name,
        container=False,
        elem_id=f"{place}-chart",
        elem_classes="bench-chart",
    )


def found_records(prefix: str, command: str, folder: Path = FOLDER) -> list[Record]:
    """The records, or a sentence on the page that says how to make one."""
    try:
        found = records(prefix, folder)
    except InputError as error:
        gr.Markdown(str(error))
        return []
    if not found:
        gr.Markdown(ABSENT.format(command=command, name=f"{prefix}_mini.json"), elem_id=f"no-{prefix}")
    return found


def files_of(record: Record) -> tuple[gr.DownloadButton, gr.DownloadButton]:
    """The record as it is, and as a table."""
    with gr.Row(elem_classes="bench-save"):
        both = [gr.DownloadButton(text, size="sm") for text in ("Save record (JSON)", "Save table (CSV)")]
    for button, value in zip(both, file_values(record, both[0].GRADIO_CACHE), strict=True):
        button.value = button.postprocess(value)
    return both[0], both[1]


def file_values(record: Record, cache: str) -> list[str]:
    """Files for both buttons."""
    contents = {
        f"{record.path.stem}.json": record.path.read_bytes(),
        f"{record.path.stem}.csv": accuracy.as_csv(record),
    }
    return [save_bytes_to_cache(data, name, cache) for name, data in contents.items()]


class AccuracySection:
    """Accuracy over retention, every method."""

    def __init__(self, titles: Mapping[str, str], folder: Path = FOLDER) -> None:
        self.titles = titles
        self.records = {each.title: each for each in found_records("accuracy", "python -m benchmarks.accuracy", folder)}
        if self.records:
            self._build(next(iter(self.records.values())))

    def _build(self, first: Record) -> None:
        with gr.Row():
            record = gr.Dropdown(
                list(self.records), value=first.title, label="Model and task", filterable=False,
                visible=len(self.records) > 1, elem_id="accuracy-record",
            )  # fmt: skip
            kind = gr.Dropdown(
                first.kinds, value=ALL, label="Questions", filterable=False, elem_id="accuracy-kind", min_width=220
            )
            chosen = gr.Dropdown(
                self._choices(first), value=accuracy.usual(first), label="Methods that stand out", multiselect=True,
                elem_id="accuracy-methods", scale=3, min_width=300,
            )  # fmt: skip
        chart = plot_of(self._figure(first, ALL, accuracy.usual(first)), "Accuracy over retention", "accuracy")
        gr.Markdown(READ, elem_classes="quiet")
        source = gr.Markdown(made(first.facts), elem_id="accuracy-source", elem_classes="quiet")
        table = table_of(accuracy.table(first, ALL, self.titles), "accuracy")
        notes = gr.Markdown(accuracy.notes(first, ALL, self.titles), elem_id="accuracy-notes", elem_classes="quiet")
        files = files_of(first)
        self.cache = files[0].GRADIO_CACHE
        asked, filled = [record, kind, chosen], [chart, table, notes]
        gr.on([kind.input, chosen.change], self.on_change, asked, filled, **PREVIEW)
        record.input(self.on_record, record, [kind, chosen, source, *files, *filled], **PREVIEW)

    @answering
    def on_change(self, record: str, kind: str, chosen: Sequence[str]) -> tuple[Any, dict[str, Any], str]:
        """Another type of question, or other methods: chart, table and its notes."""
        found = self.records[record]
        kind = kind if kind in found.kinds else ALL
        table, notes = accuracy.table(found, kind, self.titles), accuracy.notes(found, kind, self.titles)
        return self._figure(found, kind, chosen), shown(table), notes

    @answering
    def on_record(self, record: str) -> tuple[Any, ...]:
        """Another record: everything."""
        found = self.records[record]
        usual = accuracy.usual(found)
        menus = gr.update(choices=found.kinds, value=ALL), gr.update(choices=self._choices(found), value=usual)
        files = file_values(found, self.cache)
        return (*menus, made(found.facts), *files, *self.on_change(record, ALL, usual))

    def _figure(self, record: Record, kind: str, chosen: Sequence[str]) -> Any:
        lines = accuracy.lines(record, kind, chosen, self.titles)
        return curve_chart(lines, accuracy.levels(record, kind), "accuracy (%)")

    def _choices(self, record: Record) -> list[tuple[str, str]]:
        return [(self.titles.get(name, name), name) for name in record.methods]


class PartsSection:
    """VScan with one part changed at a time."""

    def __init__(self, folder: Path = FOLDER) -> None:
        found = found_records("ablations", "python -m benchmarks.accuracy --ablations", folder)
        if found:
            self.record = found[0]
            self._build(self.record)

    def _build(self, record: Record) -> None:
        shares = [(formatting.percent(share), str(share)) for share in record.retentions]
        with gr.Row():
            kind = gr.Dropdown(record.kinds, value=ALL, label="Questions", filterable=False, elem_id="parts-kind")
            share = gr.Dropdown(
                shares, value=shares[-1][1], label="Visual tokens kept", filterable=False, elem_id="parts-retention",
            )  # fmt: skip
        figure, table = self._of(ALL, shares[-1][1])
        chart = plot_of(figure, "Accuracy of VScan with one part changed", "parts")
        gr.Markdown(
            "Orange: VScan as published, and the line to compare with. Bars are 95 % intervals.", elem_classes="quiet"
        )
        gr.Markdown(made(record.facts), elem_id="parts-source", elem_classes="quiet")
        frame = table_of(table, "parts")
        files_of(record)
        gr.on([kind.input, share.input], self.on_change, [kind, share], [chart, frame], **PREVIEW)

    @answering
    def on_change(self, kind: str, retention: str) -> tuple[Any, dict[str, Any]]:
        """Another type of question or budget."""
        figure, table = self._of(kind, retention)
        return figure, shown(table)

    def _of(self, kind: str, retention: str) -> tuple[Any, dict[str, Any]]:
        share = float(retention)
        whole = ablations.whole(self.record, kind, share)
        figure = interval_chart(ablations.groups(self.record, kind, share), "accuracy (%)", line=whole)
        return figure, ablations.table(self.record, kind, share)
