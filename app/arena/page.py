"""The Arena: one picture, one question, one budget, any set of methods, side by side."""

from __future__ import annotations

from typing import Any

import gradio as gr

from .. import formatting
from ..runs.copy_as import Recipe, copy_buttons
from ..runs.outputs import waiting_tiles
from ..runs.page import RunsPage, ShownRuns
from ..runs.table import shown_text
from ..session.examples import Example
from ..session.session import Session
from ..session.sources import OpenedSource
from ..ui.errors import answering
from ..ui.events import PREVIEW
from ..ui.history import EarlierRun
from ..ui.messages import FEW_LEFT
from .inputs import methods_at_one_retention
from .outputs import arena_outputs
from .settings import ArenaSettings, arena_settings
from .two_methods import TwoMethods


class ArenaPage(RunsPage[ArenaSettings]):
    """Its plan: the retention in percent, and names of methods."""

    name, title = "arena", "Arena"
    plan_inputs, build_outputs = staticmethod(methods_at_one_retention), staticmethod(arena_outputs)

    def __init__(self, session: Session, examples: list[Example]) -> None:
        super().__init__(session, examples)
        _, methods = self.inputs.plan
        methods.change(self.on_methods, [methods, self.state], self.outputs.gallery, **PREVIEW)
        self.two.fill_after(self.run_over, self.state)
        self.two.hide_on([self.controls.clock.submit, self.inputs.picture.change])
        copy_buttons("arena-", self.inputs.for_run, self.recipe)

    def _build_below(self, place: str) -> None:
        self.two = TwoMethods(self.session, self.state, place)

    @property
    def opened(self) -> dict[str, Any]:
        """See Page."""
        inputs, outputs = self.inputs, [self.inputs.budget, self.outputs.gallery]
        return {"fn": self.on_opened, "inputs": [*inputs.for_budget, self.state], "outputs": outputs, **PREVIEW}

    @property
    def shared(self) -> dict[str, Any]:
        """See Page."""
        inputs, (retention, methods) = self.inputs, self.inputs.plan
        return {
            "model": inputs.model, "picture": inputs.picture, "question": inputs.question, "keep": retention,
            "methods": methods,
        }  # fmt: skip

    @property
    def ended(self) -> tuple[Any, Any, Any]:
        """See Page."""
        return self.run_over, self.state, self.earlier_run

    def earlier_run(self, shown: ShownRuns[ArenaSettings] | None) -> EarlierRun | None:
        """For the list of earlier runs, once all runs are over."""
        if shown is None or not shown.now.ended:
            return None
        settings = shown.settings
        values: dict[str, Any] = {
            "model": settings.model,
            "question": settings.question,
            "keep": 100 * settings.retention,
        }
        values |= {"picture": shown.path, "methods": list(settings.methods)}
        return EarlierRun(self.name, values, f"{self._plan_in_words(settings)}: {shown_text(shown.now.runs[0])}")

    def _recipe(self, settings: ArenaSettings, path: str) -> Recipe:
        return Recipe(settings.model, path, settings.question, settings.methods, (settings.retention,))

    @answering
    def on_methods(self, methods: list[str], shown: ShownRuns[ArenaSettings] | None) -> Any:
        """Other methods: one tile each, unless there are pictures to see."""
        if shown is not None:
            return gr.skip()
        return waiting_tiles([self.session.engine.method(name).title for name in methods])

    def on_picture(self, model: str, path: str | None, *plan: Any) -> dict[Any, Any]:
        """Another picture: the old answers go, the tiles of the chosen methods wait."""
        cleared: dict[Any, Any] = super().on_picture(model, path, *plan)
        return cleared | {self.outputs.gallery: self.on_methods(plan[1], None)}

    def on_opened(self, model: str, path: str | None, *plan: Any) -> tuple[Any, Any]:
        """The tab is opened: what the plan costs, and a tile per method."""
        *chosen, shown = plan
        return self.on_budget(model, path, *chosen), self.on_methods(chosen[1], shown)

    def _budget(self, model: str, path: str | None, *plan: Any) -> str:
        retention, methods = plan[0] / 100, plan[1]
        tokens = self.session.preview(model, path, retention).trace.tokens
        share = formatting.count(retention * tokens)
        text = f"**{formatting.percent(retention)}** = on average **{share} of {tokens:,}** visual tokens in each layer"
        counts = [
            f"- {self.session.engine.method(name).title}: {self._counts(model, retention, name, tokens)}"
            for name in methods
        ]
        return "\n".join([text + f". {FEW_LEFT}" * (retention < 0.05), "", *counts])

    def _settings(self, model: str, opened: OpenedSource, question: str, *plan: Any) -> ArenaSettings:
        percent, methods = plan
        return arena_settings(self.session, model, opened, question, percent / 100, methods)

    def _plan_in_words(self, settings: ArenaSettings) -> str:
        return f"{formatting.percent(settings.retention)} of the visual tokens, averaged over the layers"
