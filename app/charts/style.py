"""What every chart shares: transparent background, faint grid, room for labels. The page's CSS colours the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

GRID = "rgba(128, 134, 148, 0.25)"
BASELINE_COLOUR, REDUCED_COLOUR = "#8a93a3", "#e67e00"
STAGE_COLOURS = {"vision": "#0072b2", "reduce": "#e69f00", "prefill": "#009e73", "decode": "#b8bfca"}
STAGE_NAMES = {"vision": "Vision", "reduce": "Selection", "prefill": "Prefill", "decode": "Decode"}
SERVED_STAGES = {"first": "First token, network included", "decode": "Decode"}  # of an answer from a server


def styled(figure: go.Figure, height: int) -> go.Figure:
    """Give a figure the style of all charts; `height` in pixels."""
    figure.update_layout(
        template="none",
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 10, "r": 16, "t": 10, "b": 44},
        font={"family": "system-ui, sans-serif", "size": 13, "color": "#7b818c"},
        legend={
            "orientation": "h",
            "yanchor": "bottom",
            "y": 1.02,
            "x": -0.16,
            "font": {"size": 12},
            "traceorder": "normal",
        },
        hoverlabel={"font": {"size": 13}},
        dragmode=False,
    )
    axis = {"gridcolor": GRID, "zeroline": False, "automargin": True, "fixedrange": True}
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure


def error_bars(values: Sequence[tuple[float, float, float]], **style: Any) -> dict[str, Any]:
    """Plotly's error bars of (value, low, high)."""
    above, below = [high - value for value, _, high in values], [value - low for value, low, _ in values]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, **style}
