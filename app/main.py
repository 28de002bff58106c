"""The app: one tab per page."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import gradio as gr

from .server.api import add_endpoints
from .server.joins import bound_joins
from .session.examples import Example, load_examples
from .session.session import Session
from .ui.history import earlier_runs
from .ui.links import ONLY_JS, Place, link, present_button
from .ui.page import Page
from .words.language import SWITCH

PAGES = ("compare", "explain", "arena", "sweep", "several", "benchmarks")  # folders, in the order of the tabs
PRESENTED = "explain"  # the page that a presentation shows
TITLE = "VScan: fewer visual tokens, faster answers"
WELCOME = """
# VScan
A vision-language model reads every picture as hundreds of **visual tokens**. VScan keeps only a few of them.
Ask a question once and compare: both answers, which tokens were kept, and what that saved.
"""
HOUR = 3600
MOST_QUEUED = 500  # of all visitors together; what one may queue is bounded by FairUse


def page_class(name: str) -> type[Page]:
    """The class of a page, by the name of its folder: `ComparePage` of compare/page.py for "compare"."""
    found: type[Page] = getattr(import_module(f".{name}.page", __package__), f"{name.capitalize()}Page")
    return found


def build_app(session: Session, examples: list[Example] | None = None, pages: Sequence[str] = PAGES) -> gr.Blocks:
    """Build the app on a session, the first page open; `examples` None means those of assets/examples."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(HOUR, 2 * HOUR), fill_width=True) as demo:
        with gr.Row(elem_id="top-line"):
            gr.Markdown(WELCOME, elem_id="welcome")
            language = gr.Button("中文", size="sm", scale=0, min_width=80, elem_id="language")
            present = gr.Button(
                "Present", size="sm", scale=0, min_width=110, elem_id="present", visible=PRESENTED in pages
            )
        shown = load_examples() if examples is None else examples
        places: dict[str, Place] = {}
        asked: tuple[Any, ...] = ()
        with gr.Tabs(elem_id="tabs") as tabs:
            for name in pages:
                page_type = page_class(name)
                with gr.Tab(page_type.title, id=name) as tab:
                    page = page_type(session, shown)
                    page.goes_on_with(asked)
                places[name] = Place(page, tab)
                asked = asked or page.asked
        link(demo, tabs, places, session, shown, PRESENTED)
        earlier_runs(tabs, places)
        language.click(js=SWITCH, **ONLY_JS)
        present_button(present, tabs, PRESENTED)
        add_endpoints(session, session.visits)
    queued: gr.Blocks = demo.queue(default_concurrency_limit=1, max_size=MOST_QUEUED, api_open=False)
    bound_joins(queued, session.visits.fair)
    return queued
