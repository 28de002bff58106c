"""The load curve of a server, as `vscan bench serving` records it: one line of JSON per batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import plotly.graph_objects as go

from vscan_core.bench.serving import DENSE_RUN

from .. import formatting
from ..charts.load import LoadLine, LoadPoint, load_chart
from ..ui.dataframe import Cell, dataframe_value, text_cell

SERVING_HEADERS = (
    "Run", "At a time", "Visual tokens", "Requests/s", "Of dense", "First token, median", "First token, 95 %",
    "Whole answer, median",
)  # fmt: skip
SERVING_NOTE = (
    "Requests per second of a server, and times of its clients, with all visual tokens (dense) and with fewer, by the "
    "number of requests at a time. Every picture is new. Medians over rounds in which the runs took turns; in brackets "
    "the lowest and the highest. Of the times to the first token, solid lines are medians, dotted ones what 95 % do "
    "not exceed."
)
_Batches = Sequence[Mapping[str, Any]]


def serving_parts(rows: _Batches, titles: Mapping[str, str]) -> tuple[go.Figure, dict[str, Any]]:
    """Chart and table of the batches that have figures. Raises ValueError if there are none."""
    batches: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.get("status") == "ok":
            batches.setdefault((row["run"], row["concurrency"]), []).append(row)
    if not batches:
        raise ValueError("no batch has figures")
    names = sorted({run for run, _ in batches}, key=lambda run: (run != DENSE_RUN, run))
    lines, cells = [], []
    for run in names:
        mine = {at_once: found for (name, at_once), found in sorted(batches.items()) if name == run}
        shown = _shown(next(iter(mine.values()))[0], titles)
        lines.append(LoadLine(shown, [_point(each, found) for each, found in mine.items()], run == DENSE_RUN))
        cells += [_cells(shown, found, batches.get((DENSE_RUN, each), [])) for each, found in mine.items()]
    return load_chart(lines), dataframe_value([*SERVING_HEADERS], cells)


def _shown(row: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    if row["run"] == DENSE_RUN:
        return DENSE_RUN
    return f"{titles.get(row['method'], row['method'])}, {formatting.percent(row['retention'])}"


def _point(at_once: int, found: _Batches) -> LoadPoint:
    return LoadPoint(at_once, *(median(value(row) for row in found) for value in (_rate, _first, _late)))


def _rate(row: Mapping[str, Any]) -> float:
    return float(row["requests_per_s"])


def _first(row: Mapping[str, Any]) -> float:
    return float(row["ttft_ms"]["p50"])


def _late(row: Mapping[str, Any]) -> float:
    return float(row["ttft_ms"]["p95"])


def _whole(row: Mapping[str, Any]) -> float:
    return float(row["total_ms"]["p50"])


def _cells(shown: str, found: _Batches, dense: _Batches) -> list[Cell]:
    """One row of the table; the ratio is taken within each round."""
    rates = {row["round"]: _rate(row) for row in dense}
    ratios = [_rate(row) / rates[row["round"]] for row in found if row["round"] in rates]
    visual = found[0]["visual_tokens"]
    return [
        text_cell(shown),
        (found[0]["concurrency"], str(found[0]["concurrency"])),
        (visual, formatting.NOTHING) if not isinstance(visual, int) else (visual, f"{visual:,}"),
        _ranged([_rate(row) for row in found], lambda value: f"{value:.3g}"),
        _ranged(ratios, lambda value: f"{value:.2f} {formatting.TIMES}"),
        *(_ranged([value(row) for row in found], formatting.milliseconds) for value in (_first, _late, _whole)),
    ]


def _ranged(values: Sequence[float], written: Callable[[float], str]) -> Cell:
    if not values:
        return None, formatting.NOTHING
    middle, low, high = median(values), min(values), max(values)
    return middle, written(middle) if low == high else f"{written(middle)} ({written(low)} to {written(high)})"
