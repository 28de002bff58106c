"""Files that are written when somebody asks for them, and not before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache

from .errors import answering
from .events import PRIVATE

SAVE = """(file) => { if (file) Object.assign(document.createElement("a"),
    { href: file.url, download: file.orig_name ?? "vscan" }).click(); }"""


def saved_file(elem_id: str) -> gr.File:
    """Where the latest file goes on its way to the browser; never shown."""
    return gr.File(visible="hidden", elem_id=elem_id, elem_classes="saved-file")


def connect_saving(button: gr.Button, write: Callable[[Any], bytes], shown: gr.State, file: gr.File, name: str) -> None:
    """A click writes what is shown and hands it to the browser under this name. Raises nothing: errors are toasts."""

    @answering
    def on_save(value: Any) -> str:
        path: str = save_bytes_to_cache(write(value), name, file.GRADIO_CACHE)
        return path

    written = button.click(on_save, shown, file, **PRIVATE)
    written.success(None, file, None, js=SAVE, api_visibility="private")
