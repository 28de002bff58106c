"""Both answers about several pictures, their numbers, and one token map per picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.processing_utils import save_pil_to_cache

from vscan_core.draw.fates import fates
from vscan_core.draw.token_map import token_map
from vscan_core.trace import Trace

from .. import formatting
from ..runs.comparison import ComparisonSnapshot
from ..runs.outputs import status_lines, token_gallery
from ..session.sources import OpenedSource
from ..ui import html
from ..ui.messages import APPEARS_HERE
from ..ui.run_events import run_clock
from .inputs import PLACE

GALLERY_LABEL = "The pictures with the tokens that were kept marked"
SEVERAL_START = "Add more pictures and press **Run**. Each is cut by itself, and the question is asked about all."
BOTH_RUNS = ("Baseline, all visual tokens", "Fewer visual tokens")


@dataclass(frozen=True)
class SeveralOutputs:
    """The widgets that a run fills. Pairs are (baseline, reduced)."""

    clock: gr.HTML
    status: gr.Markdown
    hint: gr.Markdown
    texts: tuple[gr.Textbox, gr.Textbox]
    gallery: gr.Gallery
    verdict: gr.HTML
    numbers: tuple[gr.HTML, gr.HTML]

    @property
    def widgets(self) -> list[Any]:
        """Outputs of every handler that fills them."""
        return [self.status, self.hint, *self.texts, self.gallery, self.verdict, *self.numbers]

    def fill(self, now: ComparisonSnapshot, readable: bool) -> dict[Any, Any]:
        """Everything but the pictures; see `ComparisonSnapshot.words`."""
        boxes = zip(self.texts, now.words(readable), strict=True)
        return {
            self.status: now.status,
            self.hint: gr.update(value=now.notes, visible=bool(now.notes)),
            **{box: gr.update(value=text, placeholder=word) for box, (text, word) in boxes},
            self.verdict: html.verdict_panel(*now.answers, readable=readable and not now.hint),
            **dict(zip(self.numbers, map(html.numbers_table, now.answers, (now.kept, False)), strict=True)),
        }

    def draw(self, opened: OpenedSource, trace: Trace) -> dict[Any, Any]:
        """One token map per picture, with how many of its tokens are left."""
        tiles = []
        for number, (picture, image) in enumerate(zip(opened.pictures, trace.images, strict=True)):
            drawn = token_map(picture, image, trace.boxes(number), fates(image))
            file = save_pil_to_cache(drawn, self.gallery.GRADIO_CACHE, "tokens", "jpeg")
            left = formatting.with_arrows([len(cut.kept) for cut in image.cuts] or [image.tokens])
            tiles.append((file, f"Picture {number + 1}: {left} of {image.tokens:,} visual tokens"))
        return {self.gallery: tiles}


def several_outputs() -> SeveralOutputs:
    """Build the right column."""
    clock = run_clock(PLACE, f"#{PLACE}status")
    status, hint = status_lines(PLACE, SEVERAL_START)
    with gr.Row(equal_height=True):
        first, second = (_text(name, place) for name, place in zip(BOTH_RUNS, ("baseline", "reduced"), strict=True))
    gallery = token_gallery(f"{PLACE}gallery", GALLERY_LABEL, ["Picture 1"], columns=2)
    verdict = gr.HTML(html.verdict_panel(None, None), elem_id=f"{PLACE}verdict")
    with gr.Accordion("All numbers of both runs", open=False), gr.Row():
        numbers = (gr.HTML(html.numbers_table(None)), gr.HTML(html.numbers_table(None)))
    return SeveralOutputs(clock, status, hint, (first, second), gallery, verdict, numbers)


def _text(label: str, place: str) -> gr.Textbox:
    return gr.Textbox(
        label=label,
        lines=2,
        max_lines=4,
        interactive=False,
        placeholder=APPEARS_HERE,
        elem_id=f"{PLACE}answer-{place}",
        html_attributes=gr.InputHTMLAttributes(spellcheck=False),
    )
