"""Speed that this project measured: `assets/recorded/*.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from vscan_core.resources import asset

from .. import formatting
from ..charts.curves import Line, Point, curve_chart
from ..charts.intervals import Interval, interval_chart

FOLDER = asset("recorded")
RATIOS = {"prefill": "Reading (prefill)", "ttft": "First word", "kv_bytes": "KV cache", "tflops": "FLOPs"}


@dataclass(frozen=True)
class Speed:
    """One record, ready to be shown."""

    title: str
    facts: Mapping[str, Any]
    figure: go.Figure
    note: str
    headers: list[str]
    data: list[list[Any]]  # plain values, so that columns sort
    shown: list[list[str]]


def speeds(folder: Path = FOLDER, titles: Mapping[str, str] | None = None) -> dict[str, Speed]:
    """The records of the kinds that are known here, by file name; others and damaged ones are left out."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        kind = {"prefill": _prefill, "selection": _selection, "peak": _peak}.get(path.name.split("-")[0])
        try:
            if kind is not None:
                found[path.stem] = kind(json.loads(path.read_text(encoding="utf-8")), titles or {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def _prefill(data: dict[str, Any], titles: Mapping[str, str]) -> Speed:
    """Ratios over retentions."""
    rows = data["rows"]
    lines = [
        Line(title, [Point(row["retention"], *_spread(row[name])) for row in rows], ours=name == "prefill")
        for name, title in RATIOS.items()
    ]
    headers = ["Kept", "Visual tokens", *RATIOS.values()]
    values, shown = [], []
    for row in rows:
        counts = list(dict.fromkeys(row["visual_tokens"]))
        cells = [_spread(row[name]) for name in RATIOS]
        values.append([row["retention"], counts[0], *(median for median, _, _ in cells)])
        written = [f"{a:.2f} ({lo:.2f} to {hi:.2f})" if lo != hi else f"{a:.2f}" for a, lo, hi in cells]
        shown.append([formatting.percent(row["retention"]), formatting.arrows(counts), *written])
    note = "How many times cheaper VScan is than the baseline: median of pairs of runs, smallest and largest pair."
    figure = curve_chart(lines, [], "baseline / VScan, times")
    return Speed(f"Prefill, first word, memory: {data['model']}", data, figure, note, headers, values, shown)


def _selection(data: dict[str, Any], titles: Mapping[str, str]) -> Speed:
    """What choosing itself costs, per method."""
    sizes = list(dict.fromkeys(row["tokens"] for row in data["rows"]))
    groups = []
    for tokens in sizes:
        rows = sorted((row for row in data["rows"] if row["tokens"] == tokens), key=lambda row: row["ms"]["median"])
        intervals = [Interval(_title(row, titles), *_spread(row["ms"]), ours=row["method"] == "vscan") for row in rows]
        groups.append((f"{tokens:,} tokens", intervals))
    headers = ["Method", "Tokens", "Kept", "Time", "Peak extra memory", "Of the dense prefill's FLOPs", "Of its bytes"]
    values, shown = [], []
    for row in data["rows"]:
        ms, lo, hi = _spread(row["ms"])
        flops, bytes_ = row["share_of_dense_flops"], row["share_of_dense_bytes"]
        start = [_title(row, titles), row["tokens"], row["keep"]]
        values.append([*start, ms, row["peak_extra_mib"], flops, bytes_])
        shown.append([
            start[0], *(f"{each:,}" for each in start[1:]), f"{ms:.3g} ms ({lo:.3g} to {hi:.3g})",
            f"{row['peak_extra_mib']:.3g} MiB", f"{100 * flops:.2g} %", f"{100 * bytes_:.2g} %",
        ])  # fmt: skip
    note = "What choosing costs before the language model, on random signals of the widths of LLaVA-1.5-7B, at 11.1 %."
    figure = interval_chart(groups, "milliseconds", log=True)
    return Speed("What choosing itself costs, by method", data, figure, note, headers, values, shown)


def _peak(data: dict[str, Any], titles: Mapping[str, str]) -> Speed:
    """Peak memory of one answer, baseline and VScan at some retentions."""
    groups, values, shown = [], [], []
    for row in data["rows"]:
        intervals = []
        for name, found in row["bytes"].items():
            tensors, process = (found[what] / 2**20 for what in ("tensors", "process"))
            kept = name if name == "baseline" else formatting.percent(float(Fraction(name)))
            intervals.append(Interval(kept, tensors, tensors, tensors, ours=name != "baseline"))
            values.append([row["model"], kept, tensors, process])
            shown.append([row["model"], kept, f"{tensors:.1f} MiB", f"{process:.1f} MiB"])
        groups.append((str(row["model"]), intervals))
    note = (
        "The most that tensors made during one answer hold at once, weights left out, for the baseline and for VScan. "
        "The table also has the growth of the process."
    )
    headers = ["Model", "Kept", "Tensors", "Process"]
    return Speed("Peak memory of one answer", data, interval_chart(groups, "MiB"), note, headers, values, shown)


def _title(row: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    return titles.get(row["method"], row["method"])


def _spread(found: Mapping[str, float]) -> tuple[float, float, float]:
    return found["median"], found["min"], found["max"]
