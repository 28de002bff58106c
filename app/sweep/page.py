"""The Sweep: one picture, one question, one method, at every retention."""

from __future__ import annotations

from typing import Any

from ..runs.budget import sweep_budget_text
from ..runs.export_json import json_file, runs_as_json
from ..runs.export_png import PageHead, page_as_png
from ..runs.inputs import RunsInputs, runs_inputs
from ..runs.outputs import RunsOutputs
from ..runs.page import RunsPage, ShownRuns
from ..runs.settings import SweepSettings, sweep_settings
from ..session.examples import Example
from ..session.sources import OpenedSource
from .export_csv import runs_as_csv
from .inputs import one_method_at_retentions
from .outputs import SWEEP_TABLE, sweep_outputs


class SweepPage(RunsPage[SweepSettings]):
    """Its plan: retentions as text, and the name of a method."""

    name, title = "sweep", "Sweep"

    def _build_inputs(self, place: str, examples: list[Example]) -> RunsInputs:
        return runs_inputs(self.session, examples, place, lambda: one_method_at_retentions(self.session, place))

    def _build_outputs(self, place: str) -> RunsOutputs:
        return sweep_outputs(place)

    def _budget(self, model: str, path: str | None, *plan: Any) -> str:
        retentions, method = plan
        return sweep_budget_text(self.session, model, path, list(map(float, retentions)), method)

    def _settings(self, model: str, opened: OpenedSource, question: str, *plan: Any) -> SweepSettings:
        retentions, method = plan
        return sweep_settings(self.session, model, opened, question, list(map(float, retentions)), method)

    def _files(self, shown: ShownRuns[SweepSettings]) -> dict[str, bytes]:
        settings, now = shown.settings, shown.now
        found = runs_as_json(settings, now)
        method = self.session.engine.methods()[settings.method].title
        facts = (
            self._model_title(settings.model),
            f"{method} at {len(settings.retentions)} retentions · {settings.device}",
        )
        head = PageHead("VScan Sweep", settings.question, facts)
        picture = self._original(shown)
        return {
            "json": json_file(found),
            "csv": runs_as_csv(found),
            "png": page_as_png(head, now, picture, SWEEP_TABLE.columns),
        }
