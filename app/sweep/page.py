"""The Sweep: one picture, one question, one method, at every retention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import formatting
from ..runs.copy_as import Recipe, copy_buttons
from ..runs.export_json import runs_as_json
from ..runs.page import RunsPage, ShownRuns
from ..runs.table import shown_text
from ..session.examples import Example
from ..session.session import Session
from ..session.sources import OpenedSource
from ..ui.history import EarlierRun
from .export_csv import runs_as_csv
from .inputs import one_method_at_retentions
from .outputs import sweep_outputs
from .settings import SweepSettings, sweep_settings


class SweepPage(RunsPage[SweepSettings]):
    """Its plan: retentions as text, and the name of a method."""

    name, title = "sweep", "Sweep"
    plan_inputs, build_outputs = staticmethod(one_method_at_retentions), staticmethod(sweep_outputs)

    def __init__(self, session: Session, examples: list[Example]) -> None:
        super().__init__(session, examples)
        copy_buttons("sweep-", self.inputs.for_run, self.recipe)

    def _recipe(self, settings: SweepSettings, path: str) -> Recipe:
        return Recipe(settings.model, path, settings.question, (settings.method,), settings.retentions)

    @property
    def shared(self) -> dict[str, Any]:
        """See Page."""
        inputs, (_, method) = self.inputs, self.inputs.plan
        return {"model": inputs.model, "picture": inputs.picture, "question": inputs.question, "method": method}

    @property
    def ended(self) -> tuple[Any, Any, Any]:
        """See Page."""
        return self.run_over, self.state, self.earlier_run

    def earlier_run(self, shown: ShownRuns[SweepSettings] | None) -> EarlierRun | None:
        """For the list of earlier runs, once all runs are over."""
        if shown is None or not shown.now.ended:
            return None
        settings = shown.settings
        values: dict[str, Any] = {"model": settings.model, "question": settings.question, "method": settings.method}
        values["picture"] = shown.path
        return EarlierRun(self.name, values, f"{self._plan_in_words(settings)}: {shown_text(shown.now.runs[0])}")

    def _budget(self, model: str, path: str | None, *plan: Any) -> str:
        retentions, method = plan
        known = self.session.engine.method(method)
        tokens = self.session.preview(model, path, 1.0).trace.tokens
        counts = [
            f"- **{formatting.percent(share)}**: {self._counts(model, share, method, tokens)}"
            for share in sorted(map(float, retentions), reverse=True)
        ]
        text = f"{known.title}: {known.summary}. Visual tokens, of {tokens:,}, from layer to layer:"
        return "\n".join([text, "", *counts])

    def _settings(self, model: str, opened: OpenedSource, question: str, *plan: Any) -> SweepSettings:
        retentions, method = plan
        return sweep_settings(self.session, model, opened, question, list(map(float, retentions)), method)

    def _writers(self, shown: ShownRuns[SweepSettings]) -> dict[str, Callable[[], bytes]]:
        return super()._writers(shown) | {"csv": lambda: runs_as_csv(runs_as_json(shown.settings, shown.now))}

    def _plan_in_words(self, settings: SweepSettings) -> str:
        method = self.session.engine.method(settings.method).title
        return f"{method} at {len(settings.retentions)} retentions"
