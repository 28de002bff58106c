"""The Arena: one picture, one question, one budget, any set of methods, side by side."""

from __future__ import annotations

from typing import Any

from .. import formatting
from ..runs.page import RunsPage
from ..session.sources import OpenedSource
from .inputs import methods_at_one_retention
from .outputs import arena_outputs
from .settings import ArenaSettings, arena_settings


class ArenaPage(RunsPage[ArenaSettings]):
    """Its plan: the retention in percent, and names of methods."""

    name, title = "arena", "Arena"
    plan_inputs, build_outputs = staticmethod(methods_at_one_retention), staticmethod(arena_outputs)

    def _budget(self, model: str, path: str | None, *plan: Any) -> str:
        retention, methods = plan[0] / 100, plan[1]
        tokens = self.session.preview(model, path, retention).trace.tokens
        share = formatting.count(retention * tokens)
        text = f"**{formatting.percent(retention)}** = on average **{share} of {tokens:,}** visual tokens in each layer"
        counts = [
            f"- {self.session.engine.method(name).title}: {self._counts(model, retention, name, tokens)}"
            for name in methods
        ]
        return "\n".join([text, "", *counts])

    def _settings(self, model: str, opened: OpenedSource, question: str, *plan: Any) -> ArenaSettings:
        percent, methods = plan
        return arena_settings(self.session, model, opened, question, percent / 100, methods)

    def _plan_in_words(self, settings: ArenaSettings) -> str:
        return f"{formatting.percent(settings.retention)} of the visual tokens, averaged over the layers"
