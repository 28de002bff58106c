"""Left side of Compare: picture, question, examples, Run and Stop, how many tokens to keep, model, video."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ..session.examples import Example
from ..session.session import Session
from ..ui.inputs import model_picker, picture_and_question, retention_slider, run_and_stop
from ..ui.video import video_input


@dataclass(frozen=True)
class CompareInputs:
    """The widgets that the rest of the page needs."""

    picture: gr.Image
    question: gr.Textbox
    retention: gr.Slider
    budget: gr.Markdown  # what the retention stands for, in words
    model: gr.Dropdown
    video: gr.Video
    run: gr.Button
    stop: gr.Button


def compare_inputs(session: Session, examples: list[Example]) -> CompareInputs:
    """Build the left column."""
    picture, question = picture_and_question(examples)
    run, stop = run_and_stop()
    retention, budget = retention_slider()
    model = model_picker(session)
    return CompareInputs(picture, question, retention, budget, model, video_input(session, model), run, stop)
