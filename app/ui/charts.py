"""Charts of a page: each page lists its own once, in a tuple CHARTS, and its widgets and updates follow from that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import gradio as gr
import plotly.graph_objects as go

Result = TypeVar("Result")


@dataclass(frozen=True)
class Chart(Generic[Result]):
    """One chart: what a page says about it, and the function of `app/charts/` that draws it."""

    title: str  # also its name for screen readers
    elem_id: str
    draw: Callable[[Result], go.Figure]
    note: str = ""  # how to read it, below it


def chart_plot(chart: Chart[Any], figure: go.Figure | None = None, elem_classes: str | None = None) -> gr.Plot:
    """The widget of a chart, without its title and its note."""
    return gr.Plot(
        value=figure,
        show_label=False,
        label=chart.title,
        container=False,
        elem_id=chart.elem_id,
        elem_classes=elem_classes,
    )


def chart_updates(charts: Sequence[Chart[Result]], plots: Sequence[gr.Plot], result: Result) -> dict[gr.Plot, Any]:
    """{widget: figure}: every chart drawn from one result."""
    return {plot: chart.draw(result) for chart, plot in zip(charts, plots, strict=True)}
