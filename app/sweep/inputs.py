"""What a visitor chooses in the Sweep: a method and retentions."""

from __future__ import annotations

import gradio as gr

from .. import formatting
from ..runs.inputs import PlanInputs
from ..session.session import Session
from ..ui.inputs import method_picker
from .settings import SWEEP_RETENTIONS


def one_method_at_retentions(session: Session, place: str) -> PlanInputs:
    """A menu of methods and a list of retentions."""
    method = method_picker(session, prefix=place)
    retentions = gr.CheckboxGroup(
        choices=[(formatting.percent(share), str(share)) for share in SWEEP_RETENTIONS],
        value=[str(share) for share in SWEEP_RETENTIONS],
        label="Visual tokens to keep",
        info="Average over all layers of the language model. One run each, after a baseline with all visual tokens.",
        elem_id=f"{place}retentions",
    )
    return (retentions, method), gr.Markdown(elem_id=f"{place}budget", elem_classes="budget")
