"""What a visitor chooses on Compare: picture and question at the top; tokens, method and model below the answers."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ..session.examples import Example
from ..session.session import Session
from ..ui.inputs import method_picker, model_picker, picture_and_question, retention_slider, run_and_stop
from ..ui.run_events import run_clock
from ..ui.video import video_input
from .outputs import START


@dataclass(frozen=True)
class AskInputs:
    """The row at the top."""

    picture: gr.Image
    question: gr.Textbox
    examples: gr.Gallery
    run: gr.Button
    stop: gr.Button
    status: gr.Markdown
    clock: gr.HTML


@dataclass(frozen=True)
class HowInputs:
    """Below the answers."""

    retention: gr.Slider
    budget: gr.Markdown  # what the retention stands for, in words
    method: gr.Dropdown
    model: gr.Dropdown
    video: gr.Video


def ask_inputs(examples: list[Example]) -> AskInputs:
    """Build the row at the top."""
    with gr.Row(elem_id="ask"):
        picture, question, gallery = picture_and_question(examples)
        run, stop = run_and_stop()
        with gr.Row(elem_id="status-line"):
            status = gr.Markdown(START, elem_id="status")
            clock = run_clock("", "#answers")
    return AskInputs(picture, question, gallery, run, stop, status, clock)


def how_inputs(session: Session) -> HowInputs:
    """Build what stands below the answers."""
    with gr.Row(elem_id="how"):
        retention, budget = retention_slider()
        with gr.Column(min_width=260, elem_id="how-method"):
            method = method_picker(session, "How the visual tokens are chosen")
        with gr.Column(min_width=260, elem_id="how-model"):
            model = model_picker(session)
            video = video_input(session, model)
    return HowInputs(retention, budget, method, model, video)
