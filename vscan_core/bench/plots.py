"""Figures of a record as one HTML page that works without a network: bars and lines of medians with quartiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from vscan_core.errors import InputError

_Row = dict[str, Any]
FIGURE_HEIGHT = 420  # pixels of a figure
FIGURES_HEAD = (
    "<!doctype html><meta charset='utf-8'><title>vscan bench</title><style>body { font-family: sans-serif }</style>"
)


def plot(rows: Sequence[_Row], path: Path) -> None:
    """Write the page. Raises InputError if nothing can be drawn, or if the file cannot be written."""
    figures = [
        figure for draw in (_prefill, _sooner, _decode, _modes, _memory, _counts, _sizes) if (figure := draw(rows))
    ]
    if not figures:
        raise InputError("The record holds no row that can be drawn: see the reasons in its rows.")
    drawn = [
        figure.to_html(full_html=False, include_plotlyjs=not number)  # the script once, with the first
        for number, figure in enumerate(figures)
    ]
    sources = {f"{row.get('hardware')}, {row.get('dtype')}, {_versions(row)}" for row in rows}
    about = "".join(f"<p>{escape(source)}</p>" for source in sorted(sources))
    page = f"{FIGURES_HEAD}{about}{''.join(drawn)}"
    try:
        path.write_text(page)
    except OSError as error:
        raise InputError(f"The figures cannot be written to {path}: {error}.") from None


def _versions(row: _Row) -> str:
    return ", ".join(f"{name} {version}" for name, version in (row.get("versions") or {}).items())


def _good(rows: Sequence[_Row], test: str, figure: str) -> list[_Row]:
    return [row for row in rows if row["test"] == test and row.get("status") == "ok" and row.get(figure)]


def _bars(rows: Sequence[_Row], test: str, figure: str, title: str, unit: str, name: Callable[[_Row], str]) -> Any:
    """One group of bars per model; None if no row has this figure."""
    found = _good(rows, test, figure)
    chart = go.Figure()
    for run in dict.fromkeys(map(name, found)):
        mine = [row for row in found if name(row) == run]
        values, bars = _values(mine, figure)
        chart.add_bar(name=run, x=[row["model"] for row in mine], y=values, error_y=bars)
    chart.update_layout(title=title, yaxis_title=unit, height=FIGURE_HEIGHT, template="plotly_white")
    return chart if found else None


def _values(rows: Sequence[_Row], figure: str) -> tuple[list[float], dict[str, Any] | None]:
    """Medians, and bars to their quartiles; exact figures have none."""
    found = [row[figure] for row in rows]
    if not all(isinstance(value, dict) for value in found):
        return found, None
    middle = [value["median"] for value in found]
    above = [value["q3"] - value["median"] for value in found]
    below = [value["median"] - value["q1"] for value in found]
    return middle, {"type": "data", "symmetric": False, "array": above, "arrayminus": below}


def _run(row: _Row) -> str:
    return str(row["run"])


def _prefill(rows: Sequence[_Row]) -> Any:
    title = "Decoder over the prompt, selection included: times faster than stock"
    return _bars(rows, "prefill", "times_faster", title, "times", _run)


def _sooner(rows: Sequence[_Row]) -> Any:
    return _bars(rows, "prefill", "first_token_ms", "Time to first token", "ms", _run)


def _decode(rows: Sequence[_Row]) -> Any:
    return _bars(rows, "decode", "step_ms", "One decoding step", "ms", lambda row: f"{row['run']}, {row['rows']} rows")


def _modes(rows: Sequence[_Row]) -> Any:
    title = "One decoding step, by cache and code"
    return _bars(rows, "modes", "step_ms", title, "ms", lambda row: f"{row['run']}, {row['case']}")


def _memory(rows: Sequence[_Row]) -> Any:
    return _bars(rows, "memory", "peak_bytes", "Most memory held in a prefill, besides the weights", "bytes", _run)


def _counts(rows: Sequence[_Row]) -> Any:
    return _bars(rows, "counts", "prefill_operators", "Operators of a prefill", "operators", _run)


def _sizes(rows: Sequence[_Row]) -> Any:
    """First token over visual tokens, one line per model and run."""
    found = _good(rows, "sizes", "first_token_ms")
    chart = go.Figure()
    for model, run in dict.fromkeys((row["model"], row["run"]) for row in found):
        mine = [row for row in found if (row["model"], row["run"]) == (model, run)]
        mine.sort(key=lambda row: row["visual_tokens"])
        values, bars = _values(mine, "first_token_ms")
        places = [row["visual_tokens"] for row in mine]
        text = [row["case"] for row in mine]
        chart.add_scatter(name=f"{model}, {run}", x=places, y=values, error_y=bars, text=text, mode="lines+markers")
    chart.update_layout(
        title="Time to first token, by the size of the prompt", height=FIGURE_HEIGHT, template="plotly_white"
    )
    chart.update_xaxes(title="visual tokens in the prompt", type="log")
    chart.update_yaxes(title="ms", type="log")
    return chart if found else None
