"""The Arena: one picture, one question, one budget, any set of methods, side by side."""

from __future__ import annotations

from typing import Any

from .. import formatting
from ..runs.budget import arena_budget_text
from ..runs.page import RunsPage
from ..runs.settings import ArenaSettings, arena_settings
from ..session.sources import OpenedSource
from .inputs import methods_at_one_retention
from .outputs import arena_outputs


class ArenaPage(RunsPage[ArenaSettings]):
    """Its plan: the retention in percent, and names of methods."""

    name, title = "arena", "Arena"
    plan_inputs, build_outputs = staticmethod(methods_at_one_retention), staticmethod(arena_outputs)

    def _budget(self, model: str, path: str | None, *plan: Any) -> str:
        percent, methods = plan
        return arena_budget_text(self.session, model, path, percent / 100, methods)

    def _settings(self, model: str, opened: OpenedSource, question: str, *plan: Any) -> ArenaSettings:
        percent, methods = plan
        return arena_settings(self.session, model, opened, question, percent / 100, methods)

    def _plan_in_words(self, settings: ArenaSettings) -> str:
        return f"{formatting.percent(settings.retention)} of the visual tokens, averaged over the layers"
