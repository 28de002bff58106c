"""The picture input: Gradio's, without its own decoding, which fails with no useful words on a damaged file."""

from __future__ import annotations

from typing import Any

import gradio as gr


def picture_input(**settings: Any) -> gr.Image:
    """A gr.Image that hands on the path of the uploaded file, whatever is in it; vscan_core.media.images decides."""
    image = gr.Image(type="filepath", image_mode=None, **settings)
    image.preprocess = as_path  # type: ignore[method-assign]
    return image


def as_path(payload: Any) -> str | None:
    """The path of an uploaded file; Gradio has already checked that it lies in its upload folder."""
    if payload is None:
        return None
    if payload.path is None:
        raise gr.Error("Please send it as an uploaded file.", title="Please check", print_exception=False)
    return str(payload.path)
