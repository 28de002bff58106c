"""The video input of Compare: shown for models that take videos; for the others, a sentence says so."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..session.session import Session
from .picture import passing_paths

TAKES_VIDEOS = (
    "The model looks at {frames} frames of the video (at most 10 MB). "
    "While a video is chosen, the question is about it."
)
TAKES_PICTURES = "{model} takes pictures only. For a video, choose one of: {others}."
NO_MODEL = "{model} takes pictures only, and no model here takes videos."


def video_input(session: Session, model: gr.Dropdown) -> gr.Video:
    """The input in a box of its own, which follows the chosen model."""
    with gr.Accordion("Ask about a video", open=False, elem_id="video-box"):
        note = gr.Markdown(_note(session, session.default_model), elem_id="video-note")
        video: gr.Video = passing_paths(gr.Video)(
            sources=["upload"],
            label="Video",
            height=200,
            visible=bool(session.engine.frames(session.default_model)),
            elem_id="video",
            buttons=[],
        )

    def on_model(name: str) -> tuple[str, Any]:
        return _note(session, name), gr.update(visible=bool(session.engine.frames(name)))

    model.change(on_model, model, [note, video], api_visibility="private", show_progress="hidden")
    return video


def _note(session: Session, name: str) -> str:
    """What the chosen model does with videos, in one sentence."""
    engine, cards = session.engine, session.engine.models()
    if frames := engine.frames(name):
        return TAKES_VIDEOS.format(frames=frames)
    title = cards[name].title if name in cards else name
    fits = session.models.unavailable
    others = [card.title for other, card in cards.items() if engine.frames(other) and not fits(other)]
    if not others:
        return NO_MODEL.format(model=title)
    return TAKES_PICTURES.format(model=title, others="; ".join(others))
