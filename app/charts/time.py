"""Where the time went: one bar per run, one colour per stage."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from vscan_core.events import Answer
from vscan_core.report import shared_note

from .style import STAGE_COLOURS, STAGE_NAMES, styled


def time_chart(answers: Sequence[tuple[str, Answer]]) -> go.Figure:
    """Stacked bars of (label, answer) pairs, the first on top; milliseconds, as measured in these runs."""
    labels = [label for label, _ in answers]
    figure = go.Figure()
    for stage, name in STAGE_NAMES.items():
        values = [stage_times(answer)[stage] for _, answer in answers]
        figure.add_bar(
            y=labels,
            x=values,
            name=name,
            orientation="h",
            marker={"color": STAGE_COLOURS[stage]},
            width=0.55,
            customdata=[shared_note(answer.timings.vision_shared_ms) for _, answer in answers],
            hovertemplate=f"{name}: %{{x:.1f}} ms{'%{customdata}' if stage == 'vision' else ''}<extra>%{{y}}</extra>",
        )
    figure.update_layout(barmode="stack")
    styled(figure, 250)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(title={"text": "milliseconds"}, rangemode="tozero")
    return figure


def stage_times(answer: Answer) -> dict[str, float]:
    """{stage: milliseconds}; decode is everything after the first token."""
    timings = answer.timings
    return {
        "vision": timings.vision_ms,
        "reduce": timings.reduce_ms,
        "prefill": timings.prefill_ms,
        "decode": max(timings.total_ms - timings.ttft_ms, 0.0),
    }
