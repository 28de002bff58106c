"""The Arena: one picture, one question, one budget, any set of methods, side by side."""

from __future__ import annotations

from typing import Any

from .. import formatting
from ..runs.budget import arena_budget_text
from ..runs.export_json import json_file, runs_as_json
from ..runs.export_png import PageHead, page_as_png
from ..runs.inputs import RunsInputs, runs_inputs
from ..runs.outputs import RunsOutputs
from ..runs.page import RunsPage, ShownRuns
from ..runs.settings import ArenaSettings, arena_settings
from ..session.examples import Example
from ..session.sources import OpenedSource
from .inputs import methods_at_one_retention
from .outputs import ARENA_TABLE, arena_outputs


class ArenaPage(RunsPage[ArenaSettings]):
    """Its plan: the retention in percent, and names of methods."""

    name, title = "arena", "Arena"

    def _build_inputs(self, place: str, examples: list[Example]) -> RunsInputs:
        return runs_inputs(self.session, examples, place, lambda: methods_at_one_retention(self.session, place))

    def _build_outputs(self, place: str) -> RunsOutputs:
        return arena_outputs(place)

    def _budget(self, model: str, path: str | None, *plan: Any) -> str:
        percent, methods = plan
        return arena_budget_text(self.session, model, path, percent / 100, methods)

    def _settings(self, model: str, opened: OpenedSource, question: str, *plan: Any) -> ArenaSettings:
        percent, methods = plan
        return arena_settings(self.session, model, opened, question, percent / 100, methods)

    def _files(self, shown: ShownRuns[ArenaSettings]) -> dict[str, bytes]:
        settings, now = shown.settings, shown.now
        share = formatting.percent(settings.retention)
        budget = f"{share} of the visual tokens, averaged over the layers · {settings.device}"
        head = PageHead("VScan Arena", settings.question, (self._model_title(settings.model), budget))
        picture = self._original(shown)
        return {
            "json": json_file(runs_as_json(settings, now)),
            "png": page_as_png(head, now, picture, ARENA_TABLE.columns),
        }
