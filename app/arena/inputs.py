"""What a visitor chooses in the Arena: a budget and methods."""

from __future__ import annotations

import gradio as gr

from ..runs.inputs import PlanInputs
from ..session.session import Session
from ..ui.inputs import retention_slider
from .settings import default_methods


def methods_at_one_retention(session: Session, place: str) -> PlanInputs:
    """A slider and a list of methods."""
    retention, budget = retention_slider(place)
    methods = gr.CheckboxGroup(
        choices=[(f"{method.title}: {method.summary}", name) for name, method in session.engine.methods().items()],
        value=default_methods(session),
        label="Methods",
        info="They run one at a time, after a baseline run with all visual tokens.",
        show_select_all=True,
        elem_id=f"{place}methods",
    )
    return (retention, methods), budget
