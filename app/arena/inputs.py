"""What a visitor chooses in the Arena: a budget and methods."""

from __future__ import annotations

import gradio as gr

from ..runs.inputs import PlanInputs
from ..session.session import Session
from ..ui.events import PRIVATE
from ..ui.inputs import retention_slider
from .presets import presets
from .settings import default_methods

BESIDE = ("vscan", "random")  # what a preset is compared with


def methods_at_one_retention(session: Session, place: str) -> PlanInputs:
    """A slider, a list of methods, and rows of papers that set both."""
    retention, budget = retention_slider(place)
    on_offer = session.engine.methods()
    methods = gr.CheckboxGroup(
        choices=[(method.title, name) for name, method in on_offer.items()],
        value=default_methods(session),
        label="Methods",
        info="They run one at a time, after a baseline run with all visual tokens.",
        elem_id=f"{place}methods",
        elem_classes="chips",
    )
    rows = presets(on_offer)
    row = gr.Dropdown(
        list(rows),
        value=None,
        label="As in a paper",
        info="A method, and how many of 576 visual tokens it keeps in a published table.",
        visible=bool(rows),
        elem_id=f"{place}preset",
    )

    def pick(chosen: str) -> tuple[float, list[str]]:
        name, percent = rows[chosen]
        return percent, [name, *(other for other in BESIDE if other != name and other in on_offer)]

    row.input(pick, row, [retention, methods], **PRIVATE)
    return (retention, methods), budget
