"""Left side of a page of several runs: picture, question, plan of the runs, model, Run and Stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from ..session.examples import Example
from ..session.session import Session
from ..ui.inputs import (
    example_gallery,
    first_example,
    model_picker,
    pick,
    picture_box,
    question_box,
    run_and_stop,
)


@dataclass(frozen=True)
class PlanInputs:
    """The widgets in which a visitor plans the runs, in the order in which the page's handlers take their values."""

    widgets: tuple[gr.Slider | gr.CheckboxGroup | gr.Dropdown, ...]
    budget: gr.Markdown  # what the plan costs, in words


@dataclass(frozen=True)
class RunsInputs:
    """The widgets that the rest of the page needs."""

    picture: gr.Image
    question: gr.Textbox
    plan: PlanInputs
    model: gr.Dropdown
    run: gr.Button
    stop: gr.Button

    @property
    def budget(self) -> gr.Markdown:
        """What the plan costs, in words."""
        return self.plan.budget

    @property
    def for_run(self) -> list[gr.components.Component]:
        """Inputs of a run."""
        return [self.model, self.picture, self.question, *self.plan.widgets]

    @property
    def for_budget(self) -> list[gr.components.Component]:
        """Inputs of the budget in words."""
        return [self.model, self.picture, *self.plan.widgets]


def runs_inputs(
    session: Session, examples: list[Example], place: str, plan_inputs: Callable[[], PlanInputs]
) -> RunsInputs:
    """Build the left column; `place` goes before the ids of its widgets, `plan_inputs` builds the page's own."""
    first = first_example(examples)
    picture = picture_box(first, place)
    gallery = example_gallery(examples, place)
    question = question_box(first, place)
    run, stop = run_and_stop(place)
    plan = plan_inputs()
    model = model_picker(session, place)
    gallery.select(pick(examples), None, [picture, question], api_visibility="private", show_progress="hidden")
    return RunsInputs(picture, question, plan, model, run, stop)
