"""The Compare page: ask one question twice, with all visual tokens and with few, and see what was kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from vscan_core.catalog import is_random
from vscan_core.errors import InputError

from .. import formatting
from ..runs.comparison import ComparisonSnapshot, comparison_snapshots
from ..session.examples import Example, RightAnswers
from ..session.session import Session
from ..session.sources import Clip, OpenedSource
from ..ui.charts import chart_updates
from ..ui.errors import TOAST, answering, explained
from ..ui.events import MODEL_LOADING, PREVIEW, PRIVATE, RUN, STOPPED, WAIT
from ..ui.page import Page
from ..ui.token_map import view_of_first_cut, view_of_run
from .about import about
from .inputs import CompareInputs, compare_inputs
from .outputs import CHARTS, START, CompareOutputs, charted, compare_charts, compare_outputs
from .token_panel import TokenPanel, token_panel


class ComparePage(Page):
    """The widgets of the page and what happens when they are used."""

    title = "Compare"

    def __init__(self, session: Session, examples: list[Example]) -> None:
        self.session = session
        self._right = RightAnswers(examples)
        with gr.Row(elem_id="top"):
            with gr.Column(scale=4, min_width=300, elem_id="ask"):
                self.inputs: CompareInputs = compare_inputs(session, examples)
            with gr.Column(scale=9, min_width=300):
                self.outputs: CompareOutputs = compare_outputs()
                self.tokens: TokenPanel = token_panel(session)
                self.charts, self.plots = compare_charts()
                about()
        self._connect()

    @property
    def opened(self) -> dict[str, Any]:
        """Settings of the event that fills the page for a new visitor."""
        return {"fn": self.on_picture, "inputs": self._preview_inputs(), "outputs": self._all_outputs(), **PREVIEW}

    def _connect(self) -> None:
        inputs, status = self.inputs, self.outputs.status
        buttons, starts = [inputs.run, inputs.stop], [inputs.run.click, inputs.question.submit]
        gr.on(starts, None, None, [status, *buttons], js=WAIT, **PRIVATE)
        model, picture, *preview = self._preview_inputs()
        run = gr.on(starts, self.on_run, [model, picture, inputs.question, *preview], self._run_outputs(), **RUN)
        run.then(self.on_end, None, buttons, queue=False, **PRIVATE)
        stop = inputs.stop.click(None, None, None, cancels=[run], **PRIVATE)
        stop.then(self.on_stop, None, [*buttons, status], queue=False, **PRIVATE)
        for chosen in (inputs.picture, inputs.video):
            chosen.change(None, None, None, cancels=[run], **PRIVATE)
            chosen.change(self.on_picture, self._preview_inputs(), self._all_outputs(), **PREVIEW)
        outputs = [inputs.budget, *self.tokens.outputs]
        inputs.retention.change(self.on_budget, self._preview_inputs(), outputs, **PREVIEW)
        loading = {**MODEL_LOADING, "show_progress": "full", "show_progress_on": self.tokens.image}
        inputs.model.change(self.on_budget, self._preview_inputs(), outputs, **loading)

    def _preview_inputs(self) -> list[Any]:
        inputs = self.inputs
        return [inputs.model, inputs.picture, inputs.retention, *self.tokens.switches, inputs.video]

    def _run_outputs(self) -> list[Any]:
        buttons = [self.inputs.run, self.inputs.stop]
        return [*buttons, *self.outputs.widgets, self.charts, *self.plots, *self.tokens.outputs]

    def _all_outputs(self) -> list[Any]:
        return [self.inputs.budget, *self._run_outputs()]

    def _source(self, model: str, picture: str | None, video: str | None) -> str | Clip:
        """What is asked about: the video if there is one and the model takes it, else the picture; "": nothing."""
        frames = self.session.engine.frames(model) if video else 0
        return Clip(video, frames) if video and frames else picture or ""

    @answering
    def on_budget(
        self, model: str, path: str | None, percent: float, mode: str, score: str, cut: int, video: str | None = None
    ) -> dict[Any, Any]:
        """The slider or the model changed: its counts in words, and the first cut drawn again."""
        try:
            return self._preview(model, self._source(model, path, video), percent, mode, score, cut)
        except InputError as error:
            return {self.inputs.budget: explained(error)}

    @answering
    def on_picture(
        self, model: str, path: str | None, percent: float, mode: str, score: str, cut: int, video: str | None = None
    ) -> dict[Any, Any]:
        """Another picture or video: the old answers go, the first cut is drawn. A bad picture is reported at once."""
        blank = self.outputs.fill(ComparisonSnapshot(status=START))
        blank |= {self.charts: gr.update(visible=False), **self._buttons(busy=False)}
        source = self._source(model, path, video)
        try:
            return blank | self._preview(model, source, percent, mode, score, cut)
        except InputError as error:
            if source:
                blank[self.outputs.status] = f"**{explained(error)}**"
            return blank | self.tokens.clear() | {self.inputs.budget: ""}

    def _preview(
        self, model: str, source: str | Clip, percent: float, mode: str, score: str, cut: int
    ) -> dict[Any, Any]:
        retention, opened = percent / 100, self.session.open(source)
        first = self.session.preview(model, opened, retention)
        view = view_of_first_cut(source, first, retention)
        budget = formatting.budget_text(retention, first.schedule, first.trace.tokens)
        return {self.inputs.budget: budget} | self.tokens.fill(opened, view, mode, score, cut)

    def on_run(
        self,
        model: str,
        path: str | None,
        question: str,
        percent: float,
        mode: str,
        score: str,
        cut: int,
        video: str | None = None,
    ) -> Iterator[dict[Any, Any]]:
        """Both runs, streaming. Stop closes this generator, and with it the computation."""
        try:
            yield from self._run(model, self._source(model, path, video), question, percent / 100, mode, score)
        except Exception as error:
            sentence = explained(error)
            gr.Warning(sentence, title=TOAST)
            yield {self.outputs.status: f"**{sentence}**"} | self._buttons(busy=False)

    def _run(
        self, model: str, source: str | Clip, question: str, retention: float, mode: str, score: str
    ) -> Iterator[dict[Any, Any]]:
        opened: OpenedSource = self.session.open(source)
        drawn, out = None, self._buttons(busy=True)
        with closing(self.session.compare(model, opened, question, retention)) as events:
            for now in comparison_snapshots(events):
                # every step repeats what was shown before: the browser may skip a step, but never the last one
                out |= self.outputs.fill(now, not is_random(model))
                if now.trace is not None and now.trace is not drawn:
                    drawn = now.trace
                    view = view_of_run(source, drawn, retention)
                    out |= self.tokens.with_picture_in_file(self.tokens.fill(opened, view, mode, score, None))
                if now.ended:
                    right = self._right.sentence(opened.digest, question)
                    out |= chart_updates(CHARTS, self.plots, charted(now))
                    out |= {self.charts: gr.update(visible=True), self.outputs.status: now.status + right}
                yield dict(out)

    def on_end(self) -> dict[Any, Any]:
        """The run is over, one way or another."""
        return self._buttons(busy=False)

    def on_stop(self) -> dict[Any, Any]:
        """Stop was pressed; the run itself is cancelled by Gradio, which closes its generator."""
        return self._buttons(busy=False) | {self.outputs.status: STOPPED}

    def _buttons(self, busy: bool) -> dict[Any, Any]:
        return {self.inputs.run: gr.update(interactive=not busy), self.inputs.stop: gr.update(interactive=busy)}
