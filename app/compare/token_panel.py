"""The token view of Compare: the picture under its tokens, with three switches and a legend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..session.session import Session
from ..ui.errors import answering
from ..ui.token_map import HEAT, PICTURE, SCORES, TOKENS, Drawn, TokenView, at, drawn

CLICK = "Click on the picture to ask about one token."


@dataclass(frozen=True)
class Tokens:
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


def tokens_panel(session: Session) -> Tokens:
    """Build the token view and wire its switches."""
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
    widgets = Tokens(state, image, mode, score, cut, legend, note, token)
    _wire(widgets, session)
    return widgets


def _wire(widgets: Tokens, session: Session) -> None:
    """What happens on a switch and on a click."""

    @answering
    def redraw(view: TokenView | None, mode: str, score: str, cut: int) -> dict[Any, Any]:
        return fill_tokens(widgets, session, view, mode, score, cut) if view else {}

    @answering
    def inspect(view: TokenView | None, cut: int, event: gr.SelectData) -> str:
        return at(session, view, cut, *event.index) if view else ""

    widgets.image.select(
        inspect, [widgets.state, widgets.cut], widgets.token, api_visibility="private", show_progress="hidden"
    )
    gr.on(
        [switch.input for switch in widgets.switches],
        redraw,
        [widgets.state, *widgets.switches],
        widgets.outputs,
        api_visibility="private",
        show_progress="hidden",
        trigger_mode="always_last",
        concurrency_id="preview",
        concurrency_limit=2,
    )


def fill_tokens(
    widgets: Tokens, session: Session, view: TokenView, mode: str, score: str | None, cut: int | None
) -> dict[Any, Any]:
    """The updates that show `view`."""
    now: Drawn = drawn(session, view, mode, score, cut)
    return {
        widgets.state: view,
        widgets.image: gr.update(value=now.picture, alt_text=now.alt),
        widgets.score: gr.update(choices=now.scores, value=now.score, visible=mode == HEAT and bool(now.scores)),
        widgets.cut: gr.update(choices=now.cuts, value=now.cut, visible=mode == TOKENS),
        widgets.legend: now.legend if mode != PICTURE else "",
        widgets.note: now.note,
        widgets.token: CLICK,
    }


def keep_file(widgets: Tokens, updates: dict[Any, Any]) -> dict[Any, Any]:
    """The same updates with the picture written to a file once, for a handler that shows it many times."""
    picture = updates[widgets.image]
    stored = widgets.image.postprocess(picture["value"])
    return updates | {widgets.image: gr.update(value=stored.path, alt_text=picture["alt_text"])}
