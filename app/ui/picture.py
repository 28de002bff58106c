"""Gradio's picture input without its own decoding, which fails without a useful message on a damaged file."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any

import gradio as gr

from .errors import TOAST


def picture_input(**settings: Any) -> gr.Image:
    """A gr.Image that passes on the path of the uploaded file, whatever it holds; vscan_core.media.images checks it."""
    image: gr.Image = passing_paths(gr.Image)(type="filepath", image_mode=None, **settings)
    return image


def passing_paths(component: Any) -> Any:
    """A kind of `component` whose handlers get the path of the file.

    It is a class of its own, because Gradio makes new instances of a widget that an event leaves as it is; and it is
    made without Gradio's metaclass, which would write a file beside this one.
    """
    own = {"preprocess": lambda self, payload: as_path(payload), "is_template": True}
    return ABCMeta.__new__(type(component), component.__name__, (component,), own)


def as_path(payload: Any) -> str | None:
    """The path of an uploaded file; Gradio has already checked that it lies in its upload folder.

    Raises gr.Error for a picture that was not uploaded as a file.
    """
    if payload is None:
        return None
    if payload.path is None:
        raise gr.Error("Please upload the file.", title=TOAST, print_exception=False)
    return str(payload.path)
