"""Two methods on one map: which visual tokens both keep, and which only one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import gradio as gr

from ..runs.page import ShownRuns
from ..runs.progress import RunState
from ..session.session import Session
from ..stage.view import run_view, stage_value
from ..stage.widget import stage
from ..ui.errors import answering
from ..ui.events import PREVIEW, PRIVATE
from .settings import ArenaSettings

HIDE = "() => ({__type__: 'update', visible: false})"
FAVOURITE = "vscan"  # the method that is A at first
Shown: TypeAlias = ShownRuns[ArenaSettings] | None


class TwoMethods:
    """A map and two menus of the methods that have ended; hidden while there are fewer than two."""

    def __init__(self, session: Session, state: gr.State, place: str) -> None:
        """Build and connect it; `state` holds the runs that are shown, `place` goes before the ids of its widgets."""
        self.session = session
        with gr.Column(visible=False, elem_id=f"{place}two") as self.box:
            gr.Markdown("## Two methods on one map", elem_classes="section")
            with gr.Row(elem_id=f"{place}two-methods"):
                self.one, self.other = (
                    gr.Dropdown([], label=label, filterable=False, elem_id=f"{place}{name}", min_width=150)
                    for label, name in (("Method A", "one"), ("Method B", "other"))
                )
            self.stage = stage(f"{place}map", view="both")
        outputs = [self.one, self.other, self.stage]
        self.one.input(self.on_one, [state, self.one, self.other], outputs, **PREVIEW)
        self.other.input(self.on_other, [state, self.one, self.other], outputs, **PREVIEW)

    def fill_after(self, over: Any, state: gr.State) -> None:
        """`over`: the event after a run."""
        over.then(self.on_end, [state, self.one, self.other], self.outputs, queue=False, **PRIVATE)

    def hide_on(self, triggers: Sequence[Any]) -> None:
        """From then on, what is shown here would be of runs that are gone."""
        gr.on([*triggers], None, None, self.box, js=HIDE, **PRIVATE)

    @property
    def outputs(self) -> list[Any]:
        """Outputs of the handler that fills it."""
        return [self.box, self.one, self.other, self.stage]

    @answering
    def on_end(self, shown: Shown, one: str | None, other: str | None) -> dict[Any, Any]:
        """The runs have ended, one way or another; methods that were chosen before stay where they can."""
        runs = _ended(shown)
        if shown is None or len(runs) < 2:
            return {self.box: gr.update(visible=False), self.stage: None}
        first = one if one in runs else FAVOURITE if FAVOURITE in runs else next(iter(runs))
        return {self.box: gr.update(visible=True)} | self._filled(shown, first, _apart(other, first, runs))

    @answering
    def on_one(self, shown: Shown, one: str, other: str) -> Any:
        """A is another method; if it was B, B makes way."""
        runs = _ended(shown)
        return self._filled(shown, one, _apart(other, one, runs)) if shown and one in runs else gr.skip()

    @answering
    def on_other(self, shown: Shown, one: str, other: str) -> Any:
        """B is another method; if it was A, A makes way."""
        runs = _ended(shown)
        return self._filled(shown, _apart(one, other, runs), other) if shown and other in runs else gr.skip()

    def _filled(self, shown: ShownRuns[ArenaSettings], one: str, other: str) -> dict[Any, Any]:
        runs = _ended(shown)
        traces = [run.done.trace for run in (runs[one], runs[other]) if run.done is not None]
        view = run_view(traces[0], shown.settings.retention, runs[one].title)
        view = replace(view, other=(runs[other].title, traces[1].images[0]))
        choices = [(run.title, name) for name, run in runs.items()]
        return {
            self.one: gr.update(choices=choices, value=one),
            self.other: gr.update(choices=choices, value=other),
            self.stage: stage_value(self.session.open(shown.path), view),
        }


def _ended(shown: Shown) -> dict[str, RunState]:
    """Runs of methods that have ended, by the name of the method."""
    return {} if shown is None else {run.method: run for run in shown.now.runs[1:] if run.done is not None}


def _apart(chosen: str | None, taken: str, runs: Mapping[str, RunState]) -> str:
    """The chosen method, or if it is taken or not there, the first that is free."""
    free = [name for name in runs if name != taken]
    return chosen if chosen in free else free[0]
