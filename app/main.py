"""The app: one tab per page."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from .arena.page import ArenaPage
from .benchmarks.page import BenchmarksPage
from .compare.page import ComparePage
from .server.api import add_endpoints
from .session.examples import Example, load_examples
from .session.session import Session
from .sweep.page import SweepPage
from .ui.links import link
from .ui.page import Page

PAGES: tuple[type[Page], ...] = (ComparePage, ArenaPage, SweepPage, BenchmarksPage)
TITLE = "VScan: fewer visual tokens, faster answers"
WELCOME = """
# VScan
A vision-language model reads every picture as hundreds of **visual tokens**. VScan keeps only a few of them.
Ask a question once and compare: both answers, which tokens were kept, and what that saved.
"""
HOUR = 3600


def build_app(
    session: Session, examples: list[Example] | None = None, pages: Sequence[type[Page]] = PAGES
) -> gr.Blocks:
    """Build the app on a session, the first page on top; `examples` None means those of assets/examples."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(HOUR, 2 * HOUR), fill_width=True) as demo:
        gr.Markdown(WELCOME, elem_id="welcome")
        shown = load_examples() if examples is None else examples
        built: list[tuple[gr.Tab, Page]] = []
        with gr.Tabs(elem_id="tabs") as tabs:
            for page in pages:
                with gr.Tab(page.title, id=page.name) as tab:
                    built.append((tab, page(session, shown)))
        for place, (tab, made) in enumerate(built):
            if made.opened:
                opening = tab.select if place else demo.load  # the first page is open from the start
                opening(**made.opened)
        link(demo, tabs, {page.name: tab for tab, page in built})
        add_endpoints(session)
    queued: gr.Blocks = demo.queue(default_concurrency_limit=1, max_size=20)
    return queued
