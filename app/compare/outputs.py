"""Right side of Compare: two answers with their numbers, and the verdict between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..charts.time import time_chart
from ..charts.tokens import tokens_chart
from ..ui import html
from ..ui.messages import MEANINGLESS_TEXT
from .progress import Snapshot, hint

NAMES = ("Baseline", "VScan")
SUBTITLES = ("all visual tokens", "fewer visual tokens")


@dataclass(frozen=True)
class Panes:
    """The widgets that a run fills."""

    status: gr.Markdown
    hint: gr.Markdown
    texts: tuple[gr.Textbox, gr.Textbox]
    strips: tuple[gr.HTML, gr.HTML]
    verdict: gr.HTML


@dataclass(frozen=True)
class Charts:
    """The two charts at the foot."""

    time: gr.Plot
    tokens: gr.Plot
    box: gr.Row


def panes() -> Panes:
    """Build status line, baseline pane, verdict and VScan pane."""
    status = gr.Markdown("Press **Run** to ask the model twice.", elem_id="status")
    note = gr.Markdown(visible=False, elem_id="hint")
    with gr.Row(equal_height=True, elem_id="panes"):
        left_text, left_strip = _pane(0)
        with gr.Column(scale=2, min_width=180, elem_classes="middle"):
            verdict = gr.HTML(html.verdict(None, None), elem_id="verdict")
        right_text, right_strip = _pane(1)
    return Panes(status, note, (left_text, right_text), (left_strip, right_strip), verdict)


def _pane(place: int) -> tuple[gr.Textbox, gr.HTML]:
    name = NAMES[place]
    with gr.Column(scale=3, min_width=260, elem_classes=["pane", name.lower()]):
        gr.Markdown(f"### {name}\n{SUBTITLES[place]}", elem_classes="head")
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
        strip = gr.HTML(html.strip(None), elem_id=f"strip-{name.lower()}")
    return text, strip


def charts() -> Charts:
    """Build the two charts, hidden until there is something to draw."""
    with gr.Row(visible=False, elem_id="charts") as box:
        with gr.Column(min_width=300):
            gr.Markdown("### Where the time went")
            time = gr.Plot(show_label=False, label="Where the time went", container=False, elem_id="time-chart")
        with gr.Column(min_width=300):
            gr.Markdown("### Visual tokens in each layer")
            tokens = gr.Plot(show_label=False, label="Visual tokens per layer", container=False, elem_id="token-chart")
    return Charts(time, tokens, box)


def fill(widgets: Panes, now: Snapshot, readable: bool = True) -> dict[Any, Any]:
    """A snapshot as updates of the panes; random weights answer with noise, which is not worth reading."""
    out: dict[Any, Any] = {widgets.status: now.status}
    for place in (0, 1):
        out[widgets.texts[place]] = now.texts[place] if readable else MEANINGLESS_TEXT
        out[widgets.strips[place]] = html.strip(now.answers[place])
    out[widgets.verdict] = html.verdict(*now.answers, readable)
    sentence = hint(now)
    out[widgets.hint] = gr.update(value=sentence or "", visible=bool(sentence))
    return out


def fill_charts(widgets: Charts, now: Snapshot) -> dict[Any, Any]:
    """Both charts, once both runs have ended."""
    answers = [(name, answer) for name, answer in zip(NAMES, now.answers, strict=True) if answer]
    return {
        widgets.box: gr.update(visible=True),
        widgets.time: time_chart(answers),
        widgets.tokens: tokens_chart([(name, answer.trace) for name, answer in answers]),
    }
