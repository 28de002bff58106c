"""The stage as a widget of a page, and the marks that a visitor makes on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

STAGE_FOLDER = Path(__file__).parent
STAGE_SCRIPTS = (
    "first_cut.js",
    "token_map.js",
    "paint.js",
    "controls.js",
    "tools.js",
    "stage.js",
)  # stage.js starts the rest
MOST_MARKS = 20_000  # more tokens than any picture has: what a browser sends is not trusted


@dataclass(frozen=True)
class Marks:
    """Tokens that a visitor forces in or out, as indices into the unreduced visual tokens; ascending."""

    keep: tuple[int, ...] = ()
    drop: tuple[int, ...] = ()


def stage(elem_id: str, slider: str = "", markable: bool = False, view: str = "tokens") -> gr.HTML:
    """Build a stage; its value is what `stage_value` returns, or None.

    Args:
        elem_id: Its id on the page.
        slider: CSS selector of the page's retention slider in percent; moving it redraws the first cut at once.
        markable: Whether tokens can be marked. Marks arrive as the event "marked", see `marks_of`.
        view: What the map shows at first: "tokens", or "both" for two methods.
    """
    return gr.HTML(
        value=None,
        html_template=(STAGE_FOLDER / "stage.html").read_text(encoding="utf-8"),
        js_on_load=scripts(),
        apply_default_css=False,
        elem_id=elem_id,
        slider=slider,
        markable=markable,
        view=view,
    )


def scripts() -> str:
    """The JavaScript of a stage; it runs with `element`, `props`, `trigger` and `watch` as Gradio gives them."""
    return "\n".join((STAGE_FOLDER / name).read_text(encoding="utf-8") for name in STAGE_SCRIPTS)


def marks_of(event: gr.EventData) -> Marks:
    """The marks in an event "marked" of a stage; anything that is not a token's number is left out."""
    return Marks(_numbers(event, "keep"), _numbers(event, "drop"))


def _numbers(event: gr.EventData, name: str) -> tuple[int, ...]:
    found: Any = getattr(event, name, None)
    if not isinstance(found, list) or len(found) > MOST_MARKS:
        return ()
    return tuple(sorted({token for token in found if type(token) is int and token >= 0}))
