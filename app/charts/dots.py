"""Dots with intervals, one under the other, under headings; some stand out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from .style import REDUCED, styled

PLAIN = "#7f9dbd"
ROW = 26  # pixels


@dataclass(frozen=True)
class Dot:
    """One value and its interval."""

    name: str
    value: float
    low: float
    high: float
    ours: bool = False  # stands out


def dot_chart(
    groups: Sequence[tuple[str, Sequence[Dot]]], unit: str, log: bool = False, line: float | None = None
) -> go.Figure:
    """Groups of (heading, dots) from top to bottom; `log` for values of very different size; a `line` to compare."""
    figure = go.Figure()
    places: list[str] = []
    texts: list[str] = []
    for number, (heading, dots) in enumerate(groups):
        if heading:
            places.append(f"{number}")
            texts.append(f"<b>{heading}</b>")
        names = [f"{number} {dot.name}" for dot in dots]
        places += names
        texts += [dot.name for dot in dots]
        figure.add_scatter(
            y=names,
            x=[dot.value for dot in dots],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [dot.high - dot.value for dot in dots],
                "arrayminus": [dot.value - dot.low for dot in dots],
                "thickness": 2,
                "width": 5,
                "color": PLAIN,
            },
            mode="markers",
            marker={
                "size": 12,
                "color": [REDUCED if dot.ours else PLAIN for dot in dots],
                "symbol": ["diamond" if dot.ours else "circle" for dot in dots],
            },
            customdata=[[dot.name, dot.low, dot.high] for dot in dots],
            hovertemplate="%{x:.3g} (%{customdata[1]:.3g} to %{customdata[2]:.3g})<extra>%{customdata[0]}</extra>",
            showlegend=False,
        )
    if line is not None:
        figure.add_vline(line, line={"color": REDUCED, "width": 1.5, "dash": "dot"})
    styled(figure, 70 + ROW * len(places))
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=places, tickvals=places, ticktext=texts,
        range=[len(places) - 0.5, -0.5],
    )  # fmt: skip
    figure.update_xaxes(title={"text": unit}, type="log" if log else "linear", dtick=1 if log else None)
    return figure
