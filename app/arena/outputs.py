"""Right side of the Arena: status, table, small pictures and the two downloads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..runs.progress import Round
from ..runs.table import HEADERS, TYPES, WIDTHS, caption, table

START = "Choose methods and press **Run**. Each answers the same question about the same picture."
SORT = "The dots beside a heading sort the table. **Single run, not a benchmark:** repeat it, and times will differ."
SIGNS = (
    "Bright: kept, with an orange frame if for the picture as a whole, with a blue ring if for its neighbourhood. "
    "Dot: merged. Dark: dropped before the language model. Hatched: dropped inside it."
)


@dataclass(frozen=True)
class Board:
    """The widgets that a round fills."""

    status: gr.Markdown
    hint: gr.Markdown
    table: gr.Dataframe
    gallery: gr.Gallery
    box: gr.Column
    files: tuple[gr.DownloadButton, ...]  # JSON, PNG

    @property
    def outputs(self) -> list[Any]:
        """Outputs of every handler that fills the board."""
        return [self.status, self.hint, self.table, self.gallery, self.box, *self.files]

    def clear(self, status: str | None = None) -> dict[Any, Any]:
        """Nothing has run."""
        empty = {self.status: status or START, self.hint: gr.update(value="", visible=False)}
        empty |= {self.table: {"headers": HEADERS, "data": []}, self.gallery: None}
        return empty | {self.box: gr.update(visible=False)} | dict.fromkeys(self.files, no_file())


def board() -> Board:
    """Build the right column."""
    status = gr.Markdown(START, elem_id="arena-status")
    hint = gr.Markdown(visible=False, elem_id="arena-hint")
    frame = gr.Dataframe(
        headers=HEADERS,
        datatype=TYPES,
        column_widths=WIDTHS,
        pinned_columns=1,
        interactive=False,
        wrap=True,
        max_height=620,
        label="Answers and numbers",
        show_label=False,
        buttons=["fullscreen", "copy"],
        elem_id="arena-table",
    )
    with gr.Row(elem_id="arena-save"):
        gr.Markdown(SORT, elem_classes="quiet")
        names = (("json", "Save numbers (JSON)"), ("png", "Save page (PNG)"))
        files = [gr.DownloadButton(text, size="sm", interactive=False, elem_id=f"arena-{kind}") for kind, text in names]
    with gr.Column(visible=False) as box:
        gr.Markdown("## What each method keeps of the picture", elem_classes="section")
        gallery = gr.Gallery(
            show_label=False,
            label="The picture with the tokens of each method marked",
            columns=4,
            height="auto",
            object_fit="contain",
            interactive=False,
            buttons=["download", "fullscreen"],
            elem_id="arena-gallery",
        )
        gr.Markdown(SIGNS, elem_classes="quiet")
    return Board(status, hint, frame, gallery, box, tuple(files))


def fill(widgets: Board, now: Round, noise: str | None = None) -> dict[Any, Any]:
    """A moment of a round as updates; the downloads come when it is over."""
    pictures = [(entry.picture, caption(entry, noise is None)) for entry in now.entries if entry.picture]
    return {
        widgets.status: now.status,
        widgets.hint: gr.update(value=now.hint or "", visible=bool(now.hint)),
        widgets.table: table(now, noise),
        widgets.gallery: pictures,
        widgets.box: gr.update(visible=bool(pictures)),
    }


def no_file() -> dict[str, Any]:
    """A download button without a file."""
    update: dict[str, Any] = gr.update(value=None, interactive=False)
    return update
