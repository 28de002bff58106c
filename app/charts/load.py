"""A load curve: requests per second, and times to the first token, over requests at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .curves import METHOD_COLOURS
from .style import BASELINE_COLOUR, styled


@dataclass(frozen=True)
class LoadPoint:
    """What a server did with so many requests at a time; medians over rounds."""

    at_once: int
    per_s: float
    first_ms: float  # median of the requests
    late_ms: float  # 95 % of the requests had their first token by then


@dataclass(frozen=True)
class LoadLine:
    """One run: all visual tokens, or a method at a retention."""

    name: str
    points: Sequence[LoadPoint]
    dense: bool = False


def load_chart(lines: Sequence[LoadLine]) -> go.Figure:
    """Throughput above, times below; solid: the median, dotted: 95 %."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for place, line in enumerate(lines):
        colour = BASELINE_COLOUR if line.dense else METHOD_COLOURS[place % len(METHOD_COLOURS)]
        at_once = [point.at_once for point in line.points]
        for row, values, dash, unit in (
            (1, [point.per_s for point in line.points], "solid", "requests/s"),
            (2, [point.first_ms / 1000 for point in line.points], "solid", "s, median"),
            (2, [point.late_ms / 1000 for point in line.points], "dot", "s, 95 %"),
        ):
            figure.add_scatter(
                x=at_once,
                y=values,
                name=line.name,
                legendgroup=line.name,
                showlegend=row == 1,
                mode="lines+markers",
                line={"color": colour, "width": 2, "dash": dash},
                hovertemplate=f"%{{y:.3g}} {unit}, %{{x}} at a time<extra>{line.name}</extra>",
                row=row,
                col=1,
            )
    styled(figure, 560)
    shown = sorted({point.at_once for line in lines for point in line.points})
    figure.update_xaxes(type="log", tickvals=shown, ticktext=[str(number) for number in shown])
    figure.update_xaxes(title={"text": "requests at a time"}, row=2, col=1)
    figure.update_yaxes(title={"text": "requests per second"}, rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title={"text": "seconds to the first token"}, rangemode="tozero", row=2, col=1)
    figure.update_layout(legend={"x": 0})
    return figure
