"""A value over retention: one line per method, VScan thick with its interval as a band, references dashed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from .. import formatting
from .style import REDUCED_COLOUR, error_bars, styled

METHOD_COLOURS = (
    "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b09c00", "#7a5195", "#4a7a3a", "#a05a2c", "#00838f",
)  # fmt: skip
REFERENCE_COLOUR, FAINT_LINE = "#8a93a3", "rgba(128, 134, 148, 0.35)"
BAND = "rgba(230, 126, 0, 0.16)"
SYMBOLS = ("square", "diamond", "triangle-up", "triangle-down", "cross", "x", "pentagon", "star")
DASHES = ("dash", "dot", "dashdot")


@dataclass(frozen=True)
class Point:
    """A value at a retention, and its interval."""

    retention: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """One method, the largest retention first."""

    name: str
    points: Sequence[Point]
    chosen: bool = True  # otherwise it stays in the background
    ours: bool = False
    reference: bool = False


@dataclass(frozen=True)
class Level:
    """A value that does not depend on the retention."""

    name: str
    value: float
    above: bool = False  # whether its name is written above the line


def curve_chart(lines: Sequence[Line], levels: Sequence[Level], unit: str) -> go.Figure:
    """All lines over a logarithmic retention axis that runs from many tokens to few."""
    figure = go.Figure()
    for line in lines:
        if not line.chosen:
            _faint(figure, line)
    shown = sorted((line for line in lines if line.chosen), key=lambda line: line.ours)
    spread = [line.name for line in shown if _uncertain(line) and not line.ours]
    dashes = 0
    for place, line in enumerate(shown):
        shift = 1.012 ** (spread.index(line.name) - (len(spread) - 1) / 2) if line.name in spread else 1.0
        if line.ours:
            _band(figure, line)
            _line(figure, line, {"color": REDUCED_COLOUR, "width": 4}, "circle", shift)
        elif line.reference:
            dash = DASHES[dashes % len(DASHES)]
            _line(figure, line, {"color": REFERENCE_COLOUR, "width": 2, "dash": dash}, "circle-open", shift)
            dashes += 1
        else:
            symbol, colour = SYMBOLS[place % len(SYMBOLS)], METHOD_COLOURS[place % len(METHOD_COLOURS)]
            _line(figure, line, {"color": colour, "width": 2}, symbol, shift)
    for level in levels:
        figure.add_hline(level.value, line={"color": REFERENCE_COLOUR, "width": 1.5, "dash": "longdash"})
        figure.add_annotation(
            text=f"{level.name} {level.value:.1f}", x=0.995, xref="x domain", y=level.value, showarrow=False,
            xanchor="right", yanchor="bottom" if level.above else "top", font={"size": 12},
        )  # fmt: skip
    styled(figure, 440)
    shares = sorted({point.retention for line in lines for point in line.points}, reverse=True)
    figure.update_xaxes(
        type="log", autorange="reversed", tickvals=shares, ticktext=[formatting.percent(share) for share in shares],
        title={"text": "visual tokens kept"},
    )  # fmt: skip
    figure.update_yaxes(title={"text": unit})
    figure.update_layout(legend={"x": 0, "traceorder": "reversed"}, hovermode="closest")
    return figure


def _uncertain(line: Line) -> bool:
    return any(point.low != point.high for point in line.points)


def _line(figure: go.Figure, line: Line, stroke: dict[str, object], symbol: str, shift: float) -> None:
    """`shift` is a factor that moves the markers a little, so that error bars of different methods do not overlap."""
    points, uncertain = line.points, _uncertain(line)
    interval = " (%{customdata[1]:.1f} to %{customdata[2]:.1f})" if uncertain else ""
    figure.add_scatter(
        x=[point.retention * shift for point in points],
        y=[point.value for point in points],
        error_y=None if line.ours or not uncertain else error_bars(
            [(point.value, point.low, point.high) for point in points], thickness=1, width=3
        ),
        name=line.name,
        mode="lines+markers",
        line=stroke,
        marker={"symbol": symbol, "size": 8},
        customdata=[[formatting.percent(point.retention), point.low, point.high] for point in points],
        hovertemplate=f"%{{y:.1f}}{interval} at %{{customdata[0]}}<extra>{line.name}</extra>",
    )  # fmt: skip


def _band(figure: go.Figure, line: Line) -> None:
    shares = [point.retention for point in line.points]
    figure.add_scatter(
        x=[*shares, *reversed(shares)],
        y=[*(point.high for point in line.points), *(point.low for point in reversed(line.points))],
        fill="toself",
        fillcolor=BAND,
        line={"width": 0},
        mode="lines",
        showlegend=False,
        hoverinfo="skip",
    )


def _faint(figure: go.Figure, line: Line) -> None:
    figure.add_scatter(
        x=[point.retention for point in line.points],
        y=[point.value for point in line.points],
        name=line.name,
        mode="lines",
        line={"color": FAINT_LINE, "width": 1.2},
        showlegend=False,
        hovertemplate=f"%{{y:.1f}}<extra>{line.name}</extra>",
    )
