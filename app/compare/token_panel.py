"""The token view of Compare: the stage, and what it shows in words."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr

from vscan_core.trace import ImageTrace

from .. import formatting
from ..session.lru_cache import LRUCache
from ..session.sources import OpenedSource
from ..stage.view import RegionScore, StageView, stage_value
from ..stage.widget import Marks, marks_of, stage
from ..ui.events import PRIVATE
from .asked import CompareSettings

KEPT_SCORES = 64


@dataclass(frozen=True)
class TokenPanel:
    """The widgets of the token view."""

    stage: gr.HTML
    note: gr.Markdown
    marks: gr.State  # Marks: tokens to force in or out
    again: gr.Button  # asks again with the marks; `PutBack` connects it
    told: gr.HTML  # what came of it
    mattered: LRUCache[RegionScore] = field(default_factory=lambda: LRUCache(KEPT_SCORES))  # by `CompareSettings.about`

    @property
    def outputs(self) -> list[Any]:
        """Outputs of every handler that fills or clears."""
        return [self.stage, self.note]

    def fill(
        self, opened: OpenedSource, view: StageView, asked: CompareSettings, opens: bool = False
    ) -> dict[Any, Any]:
        """The updates that show `view`, a view of what has been opened, with what mattered for what was `asked`.

        opens: Show what mattered at once.
        """
        view = replace(view, mattered=self.mattered.find(asked.about), opens_mattered=opens)
        return {self.stage: stage_value(opened, view), self.note: _note(view)}

    def clear(self) -> dict[Any, Any]:
        """The updates that show nothing."""
        return {self.stage: None, self.note: ""}


def token_panel() -> TokenPanel:
    """Build the stage, and below it what a marked map offers."""
    map_widget = stage("overlay", "#retention", markable=True)
    with gr.Row(visible=False, elem_id="put-back") as row:
        again = gr.Button("Ask again with the marked tokens", size="sm", scale=0, min_width=260, elem_id="again")
        told = gr.HTML(elem_id="again-told")
    panel = TokenPanel(map_widget, gr.Markdown(elem_id="token-note"), gr.State(Marks()), again, told)

    def on_marked(event: gr.EventData) -> tuple[Marks, Any, str]:
        marks = marks_of(event)
        return marks, gr.update(visible=bool(marks.keep or marks.drop)), ""

    panel.stage.marked(on_marked, None, [panel.marks, row, told], **PRIVATE)
    return panel


def _note(view: StageView) -> str:
    share = formatting.percent(view.retention)
    if view.ran:
        return f"Recorded while {view.method} answered with {share} of the visual tokens." + _shape(view.trace)
    if view.trace.cuts:
        text = f"Preview of the first cut at {share}. Press **Run** to see the cuts inside the language model, too."
    else:
        text = f"At {share}, {view.method} drops nothing before the language model. Press **Run** to see the rest."
    return text + _shape(view.trace)


def _shape(trace: ImageTrace) -> str:
    """What is to be known about tiles and frames."""
    if trace.frames:
        frames = trace.frames_of(0)
        each = "frame" if len(frames) == 1 else f"{len(frames)} frames together"
        return f" The first cut keeps the same number for every {each}; the second, any of the whole video."
    if trace.tiles > 1:
        return f" The model sees {trace.tiles} tiles; the one of the whole picture lies under the others."
    return ""
