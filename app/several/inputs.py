"""What a visitor chooses for a question about several pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from ..session.examples import Example
from ..session.session import Session
from ..ui.inputs import method_picker, model_picker, question_box, retention_slider, run_and_stop
from ..ui.picture import picture_input

MOST_PICTURES = 4
PLACE = "several-"  # before the ids of the page's widgets
ABOUT_ALL = "What is different between the pictures?"


@dataclass(frozen=True)
class SeveralInputs:
    """The widgets that the rest of the page needs."""

    pictures: Sequence[gr.Image]  # in the order in which the model sees them; empty ones are left out
    question: gr.Textbox
    run: gr.Button
    stop: gr.Button
    retention: gr.Slider
    budget: gr.Markdown
    method: gr.Dropdown
    model: gr.Dropdown

    @property
    def asked(self) -> list[gr.components.Component]:
        """Inputs of a run, in the order of the handlers' arguments."""
        return [self.model, self.question, self.retention, self.method, *self.pictures]


def several_inputs(session: Session, examples: list[Example]) -> SeveralInputs:
    """Build the left column; the first example is there from the start, and more than one may be too many."""
    values = [*(example.image or None for example in examples[:1]), *[None] * MOST_PICTURES]
    pictures = []
    for first in range(0, MOST_PICTURES, 2):
        with gr.Row():
            pictures += [_picture(number, values[number - 1]) for number in (first + 1, first + 2)]
    question = question_box(ABOUT_ALL, "Ask something about the pictures", PLACE)
    run, stop = run_and_stop(PLACE)
    retention, budget = retention_slider(PLACE)
    method = method_picker(session, "How the visual tokens of each picture are chosen", PLACE)
    return SeveralInputs(pictures, question, run, stop, retention, budget, method, model_picker(session, PLACE))


def _picture(number: int, value: str | None) -> gr.Image:
    return picture_input(
        value=value,
        sources=["upload", "clipboard"],
        label=f"Picture {number}",
        height=130,
        min_width=120,
        buttons=[],
        elem_id=f"{PLACE}picture-{number}",
        placeholder="Add a picture",
        alt_text=f"Picture {number} that the question is about",
    )
