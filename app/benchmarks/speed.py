"""Speed that this project measured: `assets/recorded/*.json`, and `serving-*.jsonl` of `vscan bench serving`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from vscan_core.bench.record import rows_of
from vscan_core.errors import InputError

from .. import formatting
from ..charts.curves import Line, Point, curve_chart
from ..charts.intervals import Interval, interval_chart
from ..ui.dataframe import Cell, dataframe_value, text_cell
from .records import RECORDED_FOLDER
from .serving import SERVING_NOTE, serving_parts

SPEED_RATIOS = {"prefill": "Prefill with selection", "ttft": "First token", "kv_bytes": "KV cache", "tflops": "FLOPs"}


@dataclass(frozen=True)
class SpeedRecord:
    """One record, ready to be shown."""

    title: str
    facts: Mapping[str, Any]
    figure: go.Figure
    note: str
    table: dict[str, Any]  # a value of a Dataframe


def speed_records(folder: Path = RECORDED_FOLDER, titles: Mapping[str, str] | None = None) -> dict[str, SpeedRecord]:
    """{file name: record}; files of other kinds and damaged ones are left out."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        kind = {"prefill": _prefill, "selection": _selection, "peak": _peak}.get(path.name.split("-")[0])
        try:
            if kind is not None:
                found[path.stem] = kind(json.loads(path.read_text(encoding="utf-8")), titles or {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    for path in sorted(folder.glob("serving-*.json*")):
        try:
            found[path.stem] = _serving(rows_of(path), titles or {})
        except (InputError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def _serving(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> SpeedRecord:
    """Throughput and times of a server over requests at a time."""
    figure, table = serving_parts(rows, titles)
    first = rows[0]
    title = f"A server under load: {first['model']} on {first['server']}"
    return SpeedRecord(title, first, figure, SERVING_NOTE, table)


def _prefill(data: dict[str, Any], titles: Mapping[str, str]) -> SpeedRecord:
    """Ratios over retentions."""
    rows = data["rows"]
    lines = [
        Line(title, [Point(row["retention"], *_spread(row[name])) for row in rows], ours=name == "prefill")
        for name, title in SPEED_RATIOS.items()
    ]
    cells: list[list[Cell]] = []
    for row in rows:
        counts = list(dict.fromkeys(row["visual_tokens"]))
        start = [(row["retention"], formatting.percent(row["retention"])), (counts[0], formatting.with_arrows(counts))]
        cells.append([*start, *(_ratio_cell(*_spread(row[name])) for name in SPEED_RATIOS)])
    table = dataframe_value(["Kept", "Visual tokens", *SPEED_RATIOS.values()], cells)
    note = (
        "How many times cheaper VScan is than the baseline: median, lowest and highest of several pairs of runs. "
        f"FLOPs: {data['flops']}."
    )
    figure = curve_chart(lines, [], "baseline / VScan, times")
    return SpeedRecord(f"Prefill, first token, memory: {data['model']}", data, figure, note, table)


def _ratio_cell(median: float, low: float, high: float) -> Cell:
    return median, f"{median:.2f} ({low:.2f} to {high:.2f})" if low != high else f"{median:.2f}"


def _selection(data: dict[str, Any], titles: Mapping[str, str]) -> SpeedRecord:
    """What selecting tokens costs, per method."""
    groups = []
    for tokens in dict.fromkeys(row["tokens"] for row in data["rows"]):
        rows = sorted((row for row in data["rows"] if row["tokens"] == tokens), key=lambda row: row["ms"]["median"])
        intervals = [Interval(_title(row, titles), *_spread(row["ms"]), ours=row["method"] == "vscan") for row in rows]
        groups.append((f"{tokens:,} tokens", intervals))
    cells: list[list[Cell]] = []
    for row in data["rows"]:
        ms, low, high = _spread(row["ms"])
        memory, flops, moved = row["peak_extra_mib"], row["share_of_dense_flops"], row["share_of_dense_bytes"]
        cells.append([
            text_cell(_title(row, titles)), *((row[name], f"{row[name]:,}") for name in ("tokens", "keep")),
            (ms, f"{ms:.3g} ms ({low:.3g} to {high:.3g})"), (memory, f"{memory:.3g} MiB"),
            *((share, f"{100 * share:.2g} %") for share in (flops, moved)),
        ])  # fmt: skip
    headers = ["Method", "Tokens", "Kept", "Time", "Peak extra memory", "Of the dense prefill's FLOPs", "Of its bytes"]
    note = (
        "What selecting tokens costs before the language model, on random signals of the widths of LLaVA-1.5-7B, "
        f"at a retention of 11.1 %. FLOPs of the dense prefill: {data['flops']}."
    )
    figure = interval_chart(groups, "milliseconds", log=True)
    table = dataframe_value(headers, cells)
    return SpeedRecord("What selecting tokens costs, by method", data, figure, note, table)


def _peak(data: dict[str, Any], titles: Mapping[str, str]) -> SpeedRecord:
    """Peak memory of one answer, baseline and VScan at some retentions."""
    groups: list[tuple[str, list[Interval]]] = []
    cells: list[list[Cell]] = []
    for row in data["rows"]:
        intervals = []
        for name, found in row["bytes"].items():
            tensors, process = (found[what] / 2**20 for what in ("tensors", "process"))
            kept = name if name == "baseline" else formatting.percent(float(Fraction(name)))
            intervals.append(Interval(kept, tensors, tensors, tensors, ours=name != "baseline"))
            memory = [(tensors, f"{tensors:.1f} MiB"), (process, f"{process:.1f} MiB")]
            cells.append([text_cell(row["model"]), text_cell(kept), *memory])
        groups.append((str(row["model"]), intervals))
    note = (
        "The largest total size of the tensors made for one answer that exist at the same time, without the weights, "
        "for the baseline and for VScan. The table also has the growth of the process."
    )
    table = dataframe_value(["Model", "Kept", "Tensors", "Process"], cells)
    return SpeedRecord("Peak memory of one answer", data, interval_chart(groups, "MiB"), note, table)


def _title(row: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    return titles.get(row["method"], row["method"])


def _spread(found: Mapping[str, float]) -> tuple[float, float, float]:
    return found["median"], found["min"], found["max"]
