"""Gradio's picture input without its own decoding, which fails without a useful message on a damaged file."""

from __future__ import annotations

from typing import Any

import gradio as gr

from .errors import TOAST


def picture_input(**settings: Any) -> gr.Image:
    """A gr.Image that passes on the path of the uploaded file, whatever it holds; vscan_core.media.images checks it."""
    image = gr.Image(type="filepath", image_mode=None, **settings)
    image.preprocess = as_path  # type: ignore[method-assign]
    return image


def as_path(payload: Any) -> str | None:
    """The path of an uploaded file; Gradio has already checked that it lies in its upload folder.

    Raises gr.Error for a picture that was not uploaded as a file.
    """
    if payload is None:
        return None
    if payload.path is None:
        raise gr.Error("Please upload the file.", title=TOAST, print_exception=False)
    return str(payload.path)
