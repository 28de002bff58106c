"""Left side of the Sweep: picture, question, method, retentions, model, Run and Stop."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from .. import formatting
from ..session.examples import Example
from ..session.session import Session
from ..ui.inputs import ask_about, example_gallery, model_picker, pick, question_box, run_and_stop
from .settings import PUBLISHED


@dataclass(frozen=True)
class SweepAsk:
    """The widgets that the rest of the tab needs."""

    picture: gr.Image
    question: gr.Textbox
    method: gr.Dropdown
    retentions: gr.CheckboxGroup
    budget: gr.Markdown
    model: gr.Dropdown
    run: gr.Button
    stop: gr.Button

    @property
    def asked(self) -> list[gr.components.Component]:
        """Inputs of a run."""
        return [self.model, self.picture, self.question, self.retentions, self.method]

    @property
    def planned(self) -> list[gr.components.Component]:
        """Inputs of the budget in words."""
        return [self.model, self.picture, self.retentions, self.method]


def sweep_ask(session: Session, examples: list[Example]) -> SweepAsk:
    """Build the left column."""
    first = examples[0] if examples else Example("", "What is in the picture?")
    picture = ask_about(first, "sweep-")
    gallery = example_gallery(examples, "sweep-")
    question = question_box(first, "sweep-")
    run, stop = run_and_stop("sweep-")
    method = gr.Dropdown(
        choices=[(method.title, name) for name, method in session.engine.methods().items()],
        value="vscan",
        label="Method",
        filterable=False,
        elem_id="sweep-method",
    )
    retentions = gr.CheckboxGroup(
        choices=[(formatting.percent(share), str(share)) for share in PUBLISHED],
        value=[str(share) for share in PUBLISHED],
        label="Visual tokens to keep",
        info="Average over all layers of the language model. The runs go one after the other, behind the baseline.",
        elem_id="sweep-retentions",
    )
    budget = gr.Markdown(elem_id="sweep-budget", elem_classes="budget")
    model = model_picker(session, "sweep-")
    gallery.select(pick(examples), None, [picture, question], api_visibility="private", show_progress="hidden")
    return SweepAsk(picture, question, method, retentions, budget, model, run, stop)
