"""Right side of Compare: two answers with their numbers, the verdict between them, and the charts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from vscan_core.events import Answer

from ..charts.time import time_chart
from ..charts.tokens import tokens_chart
from ..runs.comparison import ComparisonSnapshot
from ..ui import html
from ..ui.charts import Chart, chart_plot
from ..ui.messages import MEANINGLESS_TEXT

START = "Press **Run** to ask the model twice."
RUN_NAMES = ("Baseline", "VScan")
SUBTITLES = ("all visual tokens", "fewer visual tokens")


CHARTS = (
    Chart("Where the time went", "time-chart", time_chart),
    Chart("Visual tokens in each layer", "token-chart", tokens_chart),
)


def charted(now: ComparisonSnapshot) -> list[tuple[str, Answer]]:
    """The answers by name, as the charts take them."""
    return [(name, answer) for name, answer in zip(RUN_NAMES, now.answers, strict=True) if answer]


@dataclass(frozen=True)
class CompareOutputs:
    """The widgets that a run fills. Pairs are (baseline, reduced)."""

    status: gr.Markdown
    hint: gr.Markdown
    texts: tuple[gr.Textbox, gr.Textbox]
    numbers: tuple[gr.HTML, gr.HTML]
    verdict: gr.HTML

    @property
    def widgets(self) -> list[Any]:
        """Outputs of a handler that fills them."""
        return [self.status, self.hint, *self.texts, *self.numbers, self.verdict]

    def fill(self, now: ComparisonSnapshot, readable: bool = True) -> dict[Any, Any]:
        """The updates that show a snapshot; texts that are not `readable` (random weights) are left out."""
        texts = now.texts if readable else (MEANINGLESS_TEXT, MEANINGLESS_TEXT)
        return {
            self.status: now.status,
            self.hint: gr.update(value=now.hint or "", visible=bool(now.hint)),
            **dict(zip(self.texts, texts, strict=True)),
            **dict(zip(self.numbers, map(html.numbers_table, now.answers, (now.kept, False)), strict=True)),
            self.verdict: html.verdict_panel(*now.answers, readable),
        }


def compare_outputs() -> CompareOutputs:
    """Build the status line, and the verdict between the answers of the baseline and of VScan."""
    status = gr.Markdown(START, elem_id="status")
    hint = gr.Markdown(visible=False, elem_id="hint")
    with gr.Row(equal_height=True, elem_id="compare-columns"):
        baseline_text, baseline_numbers = _answer(RUN_NAMES[0], SUBTITLES[0])
        with gr.Column(scale=2, min_width=180, elem_classes="middle"):
            verdict = gr.HTML(html.verdict_panel(None, None), elem_id="verdict")
        reduced_text, reduced_numbers = _answer(RUN_NAMES[1], SUBTITLES[1])
    return CompareOutputs(status, hint, (baseline_text, reduced_text), (baseline_numbers, reduced_numbers), verdict)


def _answer(name: str, subtitle: str) -> tuple[gr.Textbox, gr.HTML]:
    with gr.Column(scale=3, min_width=260, elem_classes=["pane", name.lower()]):
        gr.Markdown(f"### {name}\n{subtitle}", elem_classes="head")
        text = gr.Textbox(
            label=f"Answer of {name}",
            show_label=False,
            lines=3,
            max_lines=3,
            interactive=False,
            container=False,
            placeholder="The answer appears here.",
            elem_id=f"answer-{name.lower()}",
            html_attributes=gr.InputHTMLAttributes(spellcheck=False),
        )
        numbers = gr.HTML(html.numbers_table(None), elem_id=f"numbers-{name.lower()}")
    return text, numbers


def compare_charts() -> tuple[gr.Row, list[gr.Plot]]:
    """Build the charts side by side, in a row that is hidden until there is something to draw."""
    plots = []
    with gr.Row(visible=False, elem_id="charts") as box:
        for chart in CHARTS:
            with gr.Column(min_width=300):
                gr.Markdown(f"### {chart.title}")
                plots.append(chart_plot(chart))
    return box, plots
