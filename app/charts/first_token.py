"""Time to first token of several runs, and whether each gave the baseline's answer."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from vscan_core.report import shared_note

from .results import RunResult
from .style import SERVED_STAGES, STAGE_COLOURS, STAGE_NAMES, styled

FIRST_TOKEN_STAGES = ("vision", "reduce", "prefill")
AGREEMENT_SIGNS = {True: "=", False: "≠", None: ""}
AGREEMENT_COLOURS = {True: "#009e73", False: "#d55e00", None: "#8a93a3"}


def first_token_chart(runs: Sequence[RunResult]) -> go.Figure:
    """Stacked bars of the runs that have ended, milliseconds as measured in them; = or ≠ above each."""
    ended = [(run, run.answer["timings"]) for run in runs if run.answer]
    titles = [run.title for run, _ in ended]
    served = any(not timings["vision_ms"] for _, timings in ended)
    names = (
        {"prefill": SERVED_STAGES["first"]} if served else {stage: STAGE_NAMES[stage] for stage in FIRST_TOKEN_STAGES}
    )
    times = {stage: [timings[f"{stage}_ms"] for _, timings in ended] for stage in names}
    figure = go.Figure()
    for stage, values in times.items():
        name = names[stage]
        figure.add_bar(
            x=titles,
            y=values,
            name=name,
            marker={"color": STAGE_COLOURS[stage]},
            width=0.6,
            customdata=[shared_note(timings["vision_shared_ms"]) for _, timings in ended],
            hovertemplate=f"{name}: %{{y:.1f}} ms{'%{customdata}' if stage == 'vision' else ''}<extra>%{{x}}</extra>",
        )
    figure.add_scatter(
        x=titles,
        y=[sum(values) for values in zip(*times.values(), strict=True)],
        text=[f"<b>{AGREEMENT_SIGNS[run.agrees]}</b>" for run, _ in ended],
        mode="text",
        textposition="top center",
        textfont={"size": 20, "color": [AGREEMENT_COLOURS[run.agrees] for run, _ in ended]},
        showlegend=False,
        hoverinfo="skip",
        cliponaxis=False,
    )
    figure.update_layout(barmode="stack")
    styled(figure, 280)
    figure.update_xaxes(type="category", title={"text": "visual tokens kept"}, showgrid=False)
    figure.update_yaxes(title={"text": "ms to the first token"}, rangemode="tozero")
    figure.update_layout(legend={"x": 0})
    return figure
