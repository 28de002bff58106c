"""Left side of a page of several runs: picture, question, plan of the runs, model, Run and Stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import gradio as gr

from ..session.examples import Example
from ..session.session import Session
from ..ui.inputs import examples_set, model_picker, picture_and_question, run_and_stop

# the widgets in which a visitor plans the runs, in the order of the handlers' arguments, and what the plan costs
PlanInputs: TypeAlias = tuple[tuple[gr.Slider | gr.CheckboxGroup | gr.Dropdown, ...], gr.Markdown]


@dataclass(frozen=True)
class RunsInputs:
    """The widgets that the rest of the page needs."""

    picture: gr.Image
    question: gr.Textbox
    plan: tuple[gr.Slider | gr.CheckboxGroup | gr.Dropdown, ...]
    budget: gr.Markdown  # what the plan costs, in words
    model: gr.Dropdown
    run: gr.Button
    stop: gr.Button

    @property
    def for_run(self) -> list[gr.components.Component]:
        """Inputs of a run."""
        return [self.model, self.picture, self.question, *self.plan]

    @property
    def for_budget(self) -> list[gr.components.Component]:
        """Inputs of the budget in words."""
        return [self.model, self.picture, *self.plan]


def runs_inputs(
    session: Session, examples: list[Example], place: str, plan_inputs: Callable[[Session, str], PlanInputs]
) -> RunsInputs:
    """Build the left column; `place` goes before the ids of its widgets, `plan_inputs` builds the page's own."""
    picture, question, gallery = picture_and_question(examples, place)
    run, stop = run_and_stop(place)
    plan, budget = plan_inputs(session, place)
    if isinstance(plan[0], gr.Slider):
        examples_set(plan[0], gallery, examples)
    model = model_picker(session, place)
    return RunsInputs(picture, question, plan, budget, model, run, stop)
