"""The runs of Compare: two answers that stream in, more pairs of measurements, and the first example's answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import gradio as gr

from vscan_core.catalog import is_random
from vscan_core.errors import InputError
from vscan_core.trace import Trace

from ..runs.comparison import REPEATING, ComparisonSnapshot, comparison_snapshots
from ..runs.pairs import pairs_summary
from ..session.examples import Example, RightAnswers
from ..session.session import Session
from ..session.sources import OpenedSource
from ..session.turn import Pair
from ..stage.view import run_view
from ..ui.errors import TOAST, explained
from ..ui.messages import WAITING
from .asked import CompareSettings, ShownComparison, chosen_settings
from .first import FirstAnswer
from .outputs import CompareOutputs
from .token_panel import TokenPanel

PAIRS_S = 2.0  # seconds that Run spends on measuring again
REPEAT_S = 6.0


class ComparisonRuns:
    """Handlers that run the model, and the widgets that they fill."""

    def __init__(
        self, session: Session, examples: list[Example], outputs: CompareOutputs, tokens: TokenPanel, shown: gr.State
    ) -> None:
        self.session, self.outputs, self.tokens, self.shown = session, outputs, tokens, shown
        self._right = RightAnswers(examples)
        self.first = FirstAnswer(session, examples)

    def on_run(self, *asked: Any) -> Iterator[dict[Any, Any]]:
        """Both runs, streaming. Stop closes this generator, and with it the computation."""
        try:
            yield from self._run(*chosen_settings(self.session, *asked))
        except Exception as error:
            yield self._failure(error)

    def _failure(self, error: Exception) -> dict[Any, Any]:
        sentence = explained(error)
        gr.Warning(sentence, title=TOAST)
        return {self.outputs.status: f"**{sentence}**"}

    def _run(self, opened: OpenedSource, settings: CompareSettings) -> Iterator[dict[Any, Any]]:
        drawn: Trace | None = None
        out: dict[Any, Any] = {self.outputs.thumb: self._thumb(settings)}
        begun: dict[Any, Any] = {self.shown: ShownComparison(settings, ComparisonSnapshot())}
        asked = settings.model, opened, settings.question, settings.retention, settings.method
        with closing(self.session.compare(*asked, pairs_s=PAIRS_S)) as events:
            for now in comparison_snapshots(events):
                # every step repeats what was shown before: the browser may skip a step, but never the last one
                out |= self._filled(now, settings)
                if now.trace is not None and now.trace is not drawn:
                    drawn = now.trace
                    view = run_view(drawn, settings.retention, self._title(settings.method))
                    out |= self.tokens.fill(opened, view, settings)
                if now.ended:
                    out |= {self.outputs.status: self._with_right_answer(settings, now, now.status)}
                    out |= {self.shown: ShownComparison(settings, now)}
                yield begun | out

    def _filled(self, now: ComparisonSnapshot, settings: CompareSettings) -> dict[Any, Any]:
        return self.outputs.fill(now, settings, self._title(settings.method), not is_random(settings.model))

    def _with_right_answer(self, settings: CompareSettings, now: ComparisonSnapshot, status: str) -> str:
        if is_random(settings.model) or now.hint:
            return status
        return f"{self._right.sentence(settings.digest, settings.question)} {status}".strip()

    def _thumb(self, settings: CompareSettings) -> Any:
        return settings.source if isinstance(settings.source, str) else None

    def on_repeat(self, shown: ShownComparison | None) -> Iterator[dict[Any, Any]]:
        """More pairs for the answers that are there."""
        try:
            if shown is not None:
                yield from self._repeat(shown)
        except Exception as error:
            yield self._failure(error)

    def _repeat(self, shown: ShownComparison) -> Iterator[dict[Any, Any]]:
        settings, now = shown.settings, shown.now
        ended = now.status
        asked = settings.model, settings.source, settings.question, settings.retention, settings.method
        with closing(self.session.pairs(*asked, REPEAT_S)) as events:
            for event in events:
                pairs = (*now.pairs, event) if isinstance(event, Pair) else now.pairs
                now = replace(now, pairs=pairs, status=WAITING if event is None else REPEATING)
                yield self._filled(now, settings)
        now = replace(now, status=ended)
        found = pairs_summary(now.pairs)
        told = f"Measured {found.count} pairs in all." if found else ended
        yield self._filled(now, settings) | {self.outputs.status: told, self.shown: ShownComparison(settings, now)}

    def on_first(self, *asked: Any) -> ShownComparison | None:
        """The first example is answered before anybody asks, if the page shows it and the model is quick."""
        try:
            opened, settings = chosen_settings(self.session, *asked)
            now = self.first.of(opened, settings)
        except InputError:
            return None
        return ShownComparison(settings, now) if now is not None and now.trace is not None else None

    def on_show_first(self, answered: ShownComparison | None, unasked: bool) -> dict[Any, Any]:
        """Show it, unless the visitor has run something in the meantime."""
        if answered is None or not unasked or answered.now.trace is None:
            return {self.shown: gr.skip()}
        settings, now = answered.settings, answered.now
        opened = self.session.open(settings.source)
        view = run_view(answered.now.trace, settings.retention, self._title(settings.method))
        return {
            **self._filled(now, settings),
            **self.tokens.fill(opened, view, settings),
            self.outputs.thumb: self._thumb(settings),
            self.shown: answered,
            self.outputs.status: self._with_right_answer(settings, now, self.first.words),
        }

    def _title(self, method: str) -> str:
        return self.session.engine.method(method).title
