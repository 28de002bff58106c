"""The whole page."""

from __future__ import annotations

import gradio as gr

from .arena.page import ArenaPage
from .benchmarks.page import benchmarks_tab
from .compare.page import ComparePage
from .server.api import endpoints
from .session.examples import Example, load_examples
from .session.session import Session
from .sweep.page import SweepPage
from .ui.links import link

TITLE = "VScan: fewer visual tokens, faster answers"
WELCOME = """
# VScan
A vision-language model reads every picture as hundreds of **visual tokens**. VScan keeps a few of them.
Ask a question once, and see both answers, what was kept, and what it saved.
"""
HOUR = 3600


def build_app(session: Session, examples: list[Example] | None = None) -> gr.Blocks:
    """Build the page on a session; `examples` None means those of assets/examples."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(HOUR, 2 * HOUR), fill_width=True) as demo:
        gr.Markdown(WELCOME, elem_id="welcome")
        shown = load_examples() if examples is None else examples
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Compare", id="compare") as compare_tab:
                page = ComparePage(session, shown)
            with gr.Tab("Arena", id="arena") as arena_tab:
                arena = ArenaPage(session, shown)
            with gr.Tab("Sweep", id="sweep") as sweep_tab:
                sweep = SweepPage(session, shown)
            with gr.Tab("Benchmarks", id="benchmarks") as benchmarks:
                benchmarks_tab(session)
        arena_tab.select(**arena.opened)
        sweep_tab.select(**sweep.opened)
        link(demo, tabs, {"compare": compare_tab, "arena": arena_tab, "sweep": sweep_tab, "benchmarks": benchmarks})
        endpoints(session)
        demo.load(**page.loaded)
    demo.queue(default_concurrency_limit=1, max_size=20)
    return demo
