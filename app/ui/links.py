"""Pages share what a visitor asks for, and the address has it all: `?tab=sweep&keep=22.2`, or a presentation.

A link opens what it says, a reload shows the same again, and Back goes to the tab before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
from gradio.processing_utils import save_file_to_cache

from ..session.examples import Example
from ..session.session import Session
from .address import NOTHING_THERE, from_address, name_of
from .errors import TOAST
from .events import PRIVATE
from .page import Page

MAX_ADDRESS = 8000
DEFAULT_PERCENT = 11.1
# the page that is presented reads the address when it is built, and listens to the event from then on
PRESENT = """() => { const url = new URL(location.href); url.searchParams.set("present", "1");
    history.replaceState(history.state, "", url); window.dispatchEvent(new Event("present"));
    return {__type__: "update", selected: TAB}; }"""
UNLIMITED: dict[str, Any] = {**PRIVATE, "concurrency_limit": None}  # in the queue all the same: others cannot warn
ONLY_JS: dict[str, Any] = {"fn": None, "api_visibility": "private"}


@dataclass(frozen=True)
class Place:
    """A page and its tab."""

    page: Page
    tab: gr.Tab


def present_button(button: gr.Button, tabs: gr.Tabs, presented: str) -> None:
    """Open the tab that is presented, and start the presentation."""
    button.click(outputs=tabs, js=PRESENT.replace("TAB", json.dumps(presented)), **ONLY_JS)


def link(
    demo: gr.Blocks, tabs: gr.Tabs, places: Mapping[str, Place], session: Session, examples: Sequence[Example],
    presented: str,
) -> None:  # fmt: skip
    """Connect the pages, given by id, with the address and with each other, and fill each when it is opened."""
    shared = [(name, key, widget) for name, place in places.items() for key, widget in place.page.shared.items()]
    for name, key, widget in shared:
        widget.change(
            inputs=widget, js=f"(value) => window.address.noted({json.dumps(name)}, '{key}', value)", **ONLY_JS
        )
    _open_tabs(places, shared)
    opening = _read_address(demo, tabs, places, shared, session, examples, presented)
    first = next(iter(places.values())).page.opened
    if first:
        opening.then(**first)
    known = {save_file_to_cache(each.image, tabs.GRADIO_CACHE): name_of(each) for each in examples if each.image}
    opening.then(js=f"() => window.address.read({json.dumps(known)})", **ONLY_JS)


def _open_tabs(places: Mapping[str, Place], shared: Sequence[tuple[str, str, Any]]) -> None:
    """A tab takes over what was set elsewhere, and is filled. One that shares nothing is filled from the first page."""
    first = next(iter(places))
    widgets, names = [widget for *_, widget in shared], json.dumps([place[:2] for place in shared])
    for name, place in places.items():
        target = name if place.page.shared else first
        js = f"(...values) => window.address.opened({json.dumps(name)}, {json.dumps(target)}, {names}, values)"
        taken = [widget for page, _, widget in shared if page == target]
        selected = place.tab.select(inputs=widgets, outputs=taken, js=js, **ONLY_JS)
        if place.page.opened and name != first:  # the first page is open from the start
            selected.then(**place.page.opened)


def _read_address(
    demo: gr.Blocks, tabs: gr.Tabs, places: Mapping[str, Place], shared: Sequence[tuple[str, str, Any]],
    session: Session, examples: Sequence[Example], presented: str,
) -> Any:  # fmt: skip
    """When the page is loaded, and when the browser goes back; an uploaded picture is named by the browser."""
    query = gr.Textbox(visible=False, max_length=MAX_ADDRESS)
    again = gr.Button(visible="hidden", elem_id="address-again")
    picture = next((widget for _, key, widget in shared if key == "picture"), None)
    start = examples[0] if examples else Example("", "What is in the picture?")
    defaults = {
        "model": session.default_model, "picture": start.image or None, "question": start.question,
        "keep": DEFAULT_PERCENT,
    }  # fmt: skip

    def opened(text: str | None, own: str | None, otherwise: Mapping[str, Any]) -> dict[Any, Any]:
        asked = dict(parse_qsl((text or "")[:MAX_ADDRESS]))
        values, unknown = from_address(asked, session, examples)
        tab = presented if asked.get("present") == "1" else asked.get("tab", "")
        if tab and tab not in places:
            unknown.append("tab")
        if unknown:
            gr.Warning(NOTHING_THERE.format(names=", ".join(unknown)), title=TOAST)
        if own and "picture" not in asked and Path(own).is_file():
            values["picture"] = own
        values = {**otherwise, **values}
        updates: dict[Any, Any] = {widget: values[key] for _, key, widget in shared if key in values}
        return updates | ({tabs: gr.Tabs(selected=tab)} if tab in places else {tabs: gr.skip()})

    def on_load(text: str | None = None, own: str | None = None) -> dict[Any, Any]:
        return opened(text, own, {})

    def on_back(text: str | None = None, own: str | None = None) -> dict[Any, Any]:
        return opened(text, own, defaults | {"tab": next(iter(places))})

    js = "() => window.address.asked()" if picture else "() => window.address.asked()[0]"
    inputs, outputs = [query, *filter(None, [picture])], [tabs, *(widget for *_, widget in shared)]
    again.click(on_back, inputs, outputs, js=js, **UNLIMITED)
    return demo.load(on_load, inputs, outputs, js=js, **UNLIMITED)
