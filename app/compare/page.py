"""The Compare page: ask one question twice, with all visual tokens and with few, and see what was kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from vscan_core.catalog import is_random
from vscan_core.errors import InputError

from .. import formatting
from ..session.clip import Clip
from ..session.examples import Example
from ..session.right_answers import RightAnswers
from ..session.session import Session
from ..ui import token_map
from ..ui.errors import answering, explained
from ..ui.events import MODELS, PREVIEW, PRIVATE, RUN, STOPPED, WAIT
from ..ui.inputs import Ask, ask_panel
from .about import about
from .outputs import Charts, Panes, charts, fill, fill_charts, panes
from .progress import Snapshot, snapshots
from .token_panel import Tokens, fill_tokens, keep_file, tokens_panel


class ComparePage:
    """The widgets of the page and what happens when they are used."""

    def __init__(self, session: Session, examples: list[Example]) -> None:
        self.session = session
        self._right = RightAnswers(examples)
        with gr.Row(elem_id="top"):
            with gr.Column(scale=4, min_width=300, elem_id="ask"):
                self.ask: Ask = ask_panel(session, examples)
            with gr.Column(scale=9, min_width=300):
                self.panes: Panes = panes()
                self.tokens: Tokens = tokens_panel(session)
                self.charts: Charts = charts()
                about()
        self._wire()

    @property
    def loaded(self) -> dict[str, Any]:
        """Arguments of `Blocks.load` that fill the page for a new visitor."""
        return {"fn": self.on_picture, "inputs": self._preview_inputs(), "outputs": self._preview_outputs(), **PREVIEW}

    def _wire(self) -> None:
        ask, panes = self.ask, self.panes
        gr.on([ask.run.click, ask.question.submit], None, None, [panes.status, ask.run, ask.stop], js=WAIT, **PRIVATE)
        running = gr.on(
            [ask.run.click, ask.question.submit],
            self.on_run,
            [ask.model, ask.picture, ask.question, ask.retention, *self.tokens.switches, ask.video],
            [*self._run_outputs(), *self.tokens.outputs],
            **RUN,
        )
        running.then(self.on_end, None, [ask.run, ask.stop], queue=False, **PRIVATE)
        stopping = ask.stop.click(None, None, None, cancels=[running], **PRIVATE)
        stopping.then(self.on_stop, None, [ask.run, ask.stop, panes.status], queue=False, **PRIVATE)
        for chosen in (ask.picture, ask.video):
            chosen.change(None, None, None, cancels=[running], **PRIVATE)
            chosen.change(self.on_picture, self._preview_inputs(), self._preview_outputs(), **PREVIEW)
        outputs = [ask.budget, *self.tokens.outputs]
        ask.retention.change(self.on_budget, self._preview_inputs(), outputs, **PREVIEW)
        loading = {**MODELS, "show_progress": "full", "show_progress_on": self.tokens.image}
        ask.model.change(self.on_budget, self._preview_inputs(), outputs, **loading)

    def _preview_inputs(self) -> list[Any]:
        return [self.ask.model, self.ask.picture, self.ask.retention, *self.tokens.switches, self.ask.video]

    def _chosen(self, model: str, picture: str | None, video: str | None) -> str | Clip | None:
        """What is asked about: the video if there is one and the model takes it, else the picture."""
        frames = self.session.engine.frames(model) if video else 0
        return Clip(video, frames) if video and frames else picture

    def _preview_outputs(self) -> list[Any]:
        return [self.ask.budget, *self.tokens.outputs, *self._run_outputs()]

    def _run_outputs(self) -> list[Any]:
        panes, charts = self.panes, self.charts
        return [
            self.ask.run, self.ask.stop, panes.status, panes.hint, *panes.texts, *panes.strips, panes.verdict,
            charts.box, charts.time, charts.tokens,
        ]  # fmt: skip

    @answering
    def on_budget(
        self, model: str, path: str | None, percent: float, mode: str, score: str, cut: int, video: str | None = None
    ) -> dict[Any, Any]:
        """The slider or the model changed: its counts in words, and the first cut drawn anew."""
        try:
            return self._preview(model, self._chosen(model, path, video), percent, mode, score, cut)
        except InputError as error:
            return {self.ask.budget: explained(error)}

    @answering
    def on_picture(
        self, model: str, path: str | None, percent: float, mode: str, score: str, cut: int, video: str | None = None
    ) -> dict[Any, Any]:
        """Another picture or video: the old answers go, the first cut is drawn. A bad picture is told at once."""
        blank = fill(self.panes, Snapshot(status="Press **Run** to ask the model twice."))
        blank |= {self.charts.box: gr.update(visible=False), **self._buttons(running=False)}
        source = self._chosen(model, path, video)
        empty = {self.tokens.state: None, self.tokens.image: None, self.tokens.legend: "", self.tokens.note: ""}
        try:
            return blank | self._preview(model, source, percent, mode, score, cut)
        except InputError as error:
            if source:
                blank[self.panes.status] = f"**{explained(error)}**"
            return blank | empty | {self.ask.budget: ""}

    def _preview(
        self, model: str, path: str | Clip | None, percent: float, mode: str, score: str, cut: int
    ) -> dict[Any, Any]:
        retention = percent / 100
        preview = self.session.preview(model, path, retention)
        view = token_map.of_preview(path or "", preview, retention)
        budget = formatting.budget(retention, preview.schedule, preview.trace.tokens)
        return {self.ask.budget: budget} | fill_tokens(self.tokens, self.session, view, mode, score, cut)

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
            yield from self._run(model, self._chosen(model, path, video), question, percent, mode, score)
        except Exception as error:
            sentence = explained(error)
            gr.Warning(sentence, title="Please check")
            yield {self.panes.status: f"**{sentence}**"} | self._buttons(running=False)

    def _run(
        self, model: str, path: str | Clip | None, question: str, percent: float, mode: str, score: str
    ) -> Iterator[dict[Any, Any]]:
        retention = percent / 100
        drawn, out = None, {}
        with closing(self.session.compare(model, path, question, retention)) as events:
            for now in snapshots(events):
                # every step repeats what was shown before: the browser may skip a step, but never the last one
                out |= fill(self.panes, now, not is_random(model)) | self._buttons(running=True)
                if now.trace is not None and now.trace is not drawn:
                    drawn = now.trace
                    view = token_map.of_run(path or "", drawn, retention)
                    out |= keep_file(self.tokens, fill_tokens(self.tokens, self.session, view, mode, score, None))
                if now.ended:
                    out |= fill_charts(self.charts, now) | {
                        self.panes.status: now.status + self._right.sentence(path, question)
                    }
                yield out

    def on_end(self) -> dict[Any, Any]:
        """The run is over, one way or another."""
        return self._buttons(running=False)

    def on_stop(self) -> dict[Any, Any]:
        """Stop was pressed; the run itself is cancelled by Gradio, which closes its generator."""
        return self._buttons(running=False) | {self.panes.status: STOPPED}

    def _buttons(self, running: bool) -> dict[Any, Any]:
        return {self.ask.run: gr.update(interactive=not running), self.ask.stop: gr.update(interactive=running)}
