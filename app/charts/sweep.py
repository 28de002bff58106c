"""A sweep: how long until the first word at every retention, and whether the answer is the baseline's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from .style import STAGES, styled

NAMES = {"vision": "Looking", "reduce": "Choosing", "prefill": "Reading"}
SIGNS = {True: "=", False: "≠", None: ""}
COLOURS = {True: "#009e73", False: "#d55e00", None: "#8a93a3"}


@dataclass(frozen=True)
class Bar:
    """One run that has ended."""

    label: str  # "11.1 %"
    stages: dict[str, float]  # milliseconds by the keys of NAMES
    same: bool | None  # whether it agrees with the baseline; None: it is the baseline, or its text means nothing


def sweep_chart(bars: Sequence[Bar]) -> go.Figure:
    """Stacked bars in the order given, milliseconds as measured in these runs; above each, = or ≠."""
    figure = go.Figure()
    labels = [bar.label for bar in bars]
    for stage, name in NAMES.items():
        figure.add_bar(
            x=labels,
            y=[bar.stages[stage] for bar in bars],
            name=name,
            marker={"color": STAGES[stage]},
            width=0.6,
            hovertemplate=f"{name}: %{{y:.1f}} ms<extra>%{{x}}</extra>",
        )
    figure.add_scatter(
        x=labels,
        y=[sum(bar.stages[stage] for stage in NAMES) for bar in bars],
        text=[f"<b>{SIGNS[bar.same]}</b>" for bar in bars],
        mode="text",
        textposition="top center",
        textfont={"size": 20, "color": [COLOURS[bar.same] for bar in bars]},
        showlegend=False,
        hoverinfo="skip",
        cliponaxis=False,
    )
    figure.update_layout(barmode="stack")
    styled(figure, 280)
    figure.update_xaxes(type="category", title={"text": "visual tokens kept"}, showgrid=False)
    figure.update_yaxes(title={"text": "ms to the first word"}, rangemode="tozero")
    figure.update_layout(legend={"x": 0})
    return figure
