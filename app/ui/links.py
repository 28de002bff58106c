"""The open tab is in the page's address (`?tab=sweep`), so that a link can open it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import gradio as gr

from .events import PRIVATE

# the first tab is also "selected" while the page is being built: nothing is written before the address has been read
WRITE = """() => { if (!window.addressRead) return;
    const url = new URL(location.href); url.searchParams.set("tab", TAB);
    history.replaceState(history.state, "", url); }"""
READ = "() => { window.addressRead = true; }"


def link(page: gr.Blocks, tabs: gr.Tabs, each: Mapping[str, gr.Tab]) -> None:
    """Connect the tabs, given by id, with the address. An unknown id in an address is ignored."""

    def tab_of(request: gr.Request) -> Any:
        name = request.query_params.get("tab")
        return gr.Tabs(selected=name) if name in each else gr.skip()

    for name, tab in each.items():
        tab.select(None, None, None, js=WRITE.replace("TAB", json.dumps(name)), api_visibility="private")
    opening = page.load(tab_of, None, tabs, queue=False, **PRIVATE)
    opening.then(None, None, None, js=READ, **PRIVATE)
