"""The video input of Compare: there for models that take videos, and a sentence for those that do not."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..session.session import Session
from .picture import as_path

TAKEN = "{frames} frames of a video of at most 10 MB are looked at. While one is chosen, the question is about it."
NOT_TAKEN = "{model} takes pictures only. For a video choose another model: {others}."
NOWHERE = "{model} takes pictures only, and no model here takes videos."


def video_input(session: Session, model: gr.Dropdown) -> gr.Video:
    """The input in a box of its own, which follows the chosen model."""
    with gr.Accordion("Ask about a video", open=False, elem_id="video-box"):
        note = gr.Markdown(_note(session, session.default_model), elem_id="video-note")
        video = gr.Video(
            sources=["upload"],
            label="Video",
            height=200,
            visible=bool(session.engine.frames(session.default_model)),
            elem_id="video",
            buttons=[],
        )
    video.preprocess = as_path  # type: ignore[method-assign]

    def follow(name: str) -> tuple[str, Any]:
        return _note(session, name), gr.update(visible=bool(session.engine.frames(name)))

    model.change(follow, model, [note, video], api_visibility="private", show_progress="hidden")
    return video


def _note(session: Session, name: str) -> str:
    """What the chosen model does with videos, in one sentence."""
    engine, cards = session.engine, session.engine.models()
    if frames := engine.frames(name):
        return TAKEN.format(frames=frames)
    title = cards[name].title if name in cards else name
    others = [card.title for other, card in cards.items() if engine.frames(other) and not engine.unavailable(other)]
    if not others:
        return NOWHERE.format(model=title)
    return NOT_TAKEN.format(model=title, others="; ".join(others))
