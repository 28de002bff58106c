"""Values with their intervals, one below the other in groups; some stand out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from .style import REDUCED_COLOUR, error_bars, styled

OTHER_COLOUR = "#7f9dbd"
ROW_HEIGHT = 26  # pixels


@dataclass(frozen=True)
class Interval:
    """One value and its interval."""

    name: str
    value: float
    low: float
    high: float
    ours: bool = False  # stands out


def interval_chart(
    groups: Sequence[tuple[str, Sequence[Interval]]], unit: str, log: bool = False, line: float | None = None
) -> go.Figure:
    """Groups of (heading, intervals) from top to bottom; `log` suits values that differ much, `line` is a reference."""
    figure = go.Figure()
    places: list[str] = []
    texts: list[str] = []
    for number, (heading, intervals) in enumerate(groups):
        if heading:
            places.append(f"{number}")
            texts.append(f"<b>{heading}</b>")
        names = [f"{number} {interval.name}" for interval in intervals]
        places += names
        texts += [interval.name for interval in intervals]
        figure.add_scatter(
            y=names,
            x=[interval.value for interval in intervals],
            error_x=error_bars(
                [(interval.value, interval.low, interval.high) for interval in intervals],
                thickness=2, width=5, color=OTHER_COLOUR,
            ),
            mode="markers",
            marker={
                "size": 12,
                "color": [REDUCED_COLOUR if interval.ours else OTHER_COLOUR for interval in intervals],
                "symbol": ["diamond" if interval.ours else "circle" for interval in intervals],
            },
            customdata=[[interval.name, interval.low, interval.high] for interval in intervals],
            hovertemplate="%{x:.3g} (%{customdata[1]:.3g} to %{customdata[2]:.3g})<extra>%{customdata[0]}</extra>",
            showlegend=False,
        )  # fmt: skip
    if line is not None:
        figure.add_vline(line, line={"color": REDUCED_COLOUR, "width": 1.5, "dash": "dot"})
    styled(figure, 70 + ROW_HEIGHT * len(places))
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=places, tickvals=places, ticktext=texts,
        range=[len(places) - 0.5, -0.5],
    )  # fmt: skip
    figure.update_xaxes(title={"text": unit}, type="log" if log else "linear", dtick=1 if log else None)
    return figure
