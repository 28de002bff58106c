"""How many visual tokens entered each decoder layer, as steps."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from vscan_core.events import Answer

from .style import BASELINE_COLOUR, REDUCED_COLOUR, styled


def tokens_chart(answers: Sequence[tuple[str, Answer]]) -> go.Figure:
    """One step line per (label, answer); the counts are those recorded while the model ran."""
    figure = go.Figure()
    layers = 0
    for (label, answer), colour in zip(answers, (BASELINE_COLOUR, REDUCED_COLOUR), strict=False):
        counts = answer.trace.visual_tokens_per_layer
        layers = max(layers, len(counts))
        figure.add_scatter(
            x=list(range(len(counts) + 1)),
            y=[*counts, *counts[-1:]],  # the last step gets its full width
            name=label,
            mode="lines",
            line={"shape": "hv", "width": 3, "color": colour, "dash": "dot" if colour == BASELINE_COLOUR else "solid"},
            fill="tozeroy" if colour == REDUCED_COLOUR else None,
            fillcolor="rgba(230, 126, 0, 0.15)",
            hovertemplate=f"layer %{{x}}: %{{y}} visual tokens<extra>{label}</extra>",
        )
    styled(figure, 250)
    figure.update_xaxes(title={"text": "decoder layer"}, range=[0, layers], dtick=max(1, layers // 8))
    figure.update_yaxes(title={"text": "visual tokens"}, rangemode="tozero")
    return figure
