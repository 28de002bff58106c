"""The token view of Compare: the picture under its tokens, with three switches and a legend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.processing_utils import save_pil_to_cache

from ..session.session import Session
from ..session.sources import OpenedSource
from ..ui.errors import answering
from ..ui.events import PREVIEW, PRIVATE
from ..ui.token_map import HEAT, PICTURE, SCORES, TOKENS, TokenView, describe_token, draw_view

CLICK = "Click on the picture to ask about one token."


@dataclass(frozen=True)
class TokenPanel:
    """The widgets of the token view, and the visitor's own state of it."""

    state: gr.State  # TokenView | None
    image: gr.Image
    mode: gr.Radio
    score: gr.Radio
    cut: gr.Radio
    legend: gr.HTML
    note: gr.Markdown
    token: gr.Markdown  # what is known about the token that was clicked

    @property
    def switches(self) -> list[Any]:
        """Inputs of every handler that draws."""
        return [self.mode, self.score, self.cut]

    @property
    def outputs(self) -> list[Any]:
        """Outputs of every handler that draws."""
        return [self.state, self.image, self.score, self.cut, self.legend, self.note, self.token]

    def fill(
        self, opened: OpenedSource, view: TokenView, mode: str, score: str | None, cut: int | None
    ) -> dict[Any, Any]:
        """The updates that show `view`, a view of what has been opened."""
        now = draw_view(opened, view, mode, score, cut)
        return {
            self.state: view,
            self.image: gr.update(value=now.picture, alt_text=now.alt),
            self.score: gr.update(choices=now.scores, value=now.score, visible=mode == HEAT and bool(now.scores)),
            self.cut: gr.update(choices=now.cuts, value=now.cut, visible=mode == TOKENS),
            self.legend: now.legend if mode != PICTURE else "",
            self.note: now.note,
            self.token: CLICK,
        }

    def clear(self) -> dict[Any, Any]:
        """The updates that show nothing."""
        return {self.state: None, self.image: None, self.legend: "", self.note: ""}

    def with_picture_in_file(self, updates: dict[Any, Any]) -> dict[Any, Any]:
        """The same updates with the picture written to a file once, for a handler that shows it many times."""
        picture = updates[self.image]
        path = save_pil_to_cache(picture["value"], self.image.GRADIO_CACHE, "tokens", "jpeg")
        return updates | {self.image: gr.update(value=path, alt_text=picture["alt_text"])}


def token_panel(session: Session) -> TokenPanel:
    """Build the token view and connect its switches."""
    state = gr.State(None)
    gr.Markdown("## What the model keeps of the picture", elem_classes="section")
    with gr.Row(elem_id="token-view"):
        with gr.Column(scale=5, min_width=300):
            image = gr.Image(
                show_label=False,
                label="Picture with its visual tokens",
                format="jpeg",
                interactive=False,
                buttons=["download", "fullscreen"],
                elem_id="overlay",
                alt_text="The picture with its visual tokens marked",
            )
        with gr.Column(scale=4, min_width=300):
            mode = gr.Radio([TOKENS, HEAT, PICTURE], value=TOKENS, label="Show", elem_id="mode")
            cut = gr.Radio([("Into the language model", 1)], value=1, label="Which tokens are left", elem_id="cut")
            score = gr.Radio(
                [(SCORES["global"], "global")],
                value="global",
                label="Attention to what",
                elem_id="score",
                visible=False,
            )
            legend = gr.HTML(elem_id="legend")
            note = gr.Markdown(elem_id="token-note")
            token = gr.Markdown(CLICK, elem_id="token")
    panel = TokenPanel(state, image, mode, score, cut, legend, note, token)
    _connect(panel, session)
    return panel


def _connect(panel: TokenPanel, session: Session) -> None:
    @answering
    def redraw(view: TokenView | None, mode: str, score: str, cut: int) -> dict[Any, Any]:
        return panel.fill(session.open(view.source), view, mode, score, cut) if view else {}

    @answering
    def inspect(view: TokenView | None, cut: int, event: gr.SelectData) -> str:
        return describe_token(session.open(view.source), view, cut, *event.index) if view else ""

    panel.image.select(inspect, [panel.state, panel.cut], panel.token, **PRIVATE)
    switched = [switch.input for switch in panel.switches]
    gr.on(switched, redraw, [panel.state, *panel.switches], panel.outputs, **PREVIEW)
