"""Left side of the Arena: picture, question, methods, budget, model, Run and Stop."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ..session.examples import Example
from ..session.session import Session
from ..ui.inputs import ask_about, example_gallery, model_picker, pick, question_box, retention_slider, run_and_stop
from .defaults import usual


@dataclass(frozen=True)
class ArenaAsk:
    """The widgets that the rest of the tab needs."""

    picture: gr.Image
    question: gr.Textbox
    methods: gr.CheckboxGroup
    retention: gr.Slider
    budget: gr.Markdown
    model: gr.Dropdown
    run: gr.Button
    stop: gr.Button

    @property
    def asked(self) -> list[gr.components.Component]:
        """Inputs of a run."""
        return [self.model, self.picture, self.question, self.retention, self.methods]

    @property
    def planned(self) -> list[gr.components.Component]:
        """Inputs of the budget in words."""
        return [self.model, self.picture, self.retention, self.methods]


def arena_ask(session: Session, examples: list[Example]) -> ArenaAsk:
    """Build the left column."""
    first = examples[0] if examples else Example("", "What is in the picture?")
    picture = ask_about(first, "arena-")
    gallery = example_gallery(examples, "arena-")
    question = question_box(first, "arena-")
    run, stop = run_and_stop("arena-")
    retention, budget = retention_slider("arena-")
    methods = gr.CheckboxGroup(
        choices=[(f"{method.title}: {method.summary}", name) for name, method in session.engine.methods().items()],
        value=usual(session),
        label="Methods",
        info="They run one after the other, behind the baseline with all visual tokens.",
        show_select_all=True,
        elem_id="arena-methods",
    )
    model = model_picker(session, "arena-")
    gallery.select(pick(examples), None, [picture, question], api_visibility="private", show_progress="hidden")
    return ArenaAsk(picture, question, methods, retention, budget, model, run, stop)
