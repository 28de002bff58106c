"""Several pictures: one question about up to four of them, with all visual tokens and with few of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import gradio as gr

from vscan_core.catalog import is_random
from vscan_core.errors import InputError
from vscan_core.trace import Trace

from .. import formatting
from ..runs.comparison import comparison_snapshots
from ..runs.outputs import waiting_tiles
from ..session.examples import Example
from ..session.inputs import check_share
from ..session.session import Session
from ..session.sources import Album, OpenedSource
from ..ui.errors import TOAST, answering, explained
from ..ui.events import PREVIEW
from ..ui.page import Page
from ..ui.run_events import RunControls
from .inputs import PLACE, several_inputs
from .outputs import several_outputs

NO_PICTURES = "Please choose at least one picture first."
PROMPT_LENGTH = (
    "**{share}** of the visual tokens of each picture. With all of them, the prompt has **{tokens:,}** tokens."
)


class SeveralPage(Page):
    """The widgets of the page and what happens when they are used."""

    title = "Several pictures"

    def __init__(self, session: Session, examples: list[Example]) -> None:
        self.session = session
        with gr.Row():
            with gr.Column(scale=4, min_width=300, elem_id=f"{PLACE}ask"):
                self.inputs = several_inputs(session, examples)
            with gr.Column(scale=9, min_width=300, elem_classes="results"):
                self.outputs = several_outputs()
        inputs, out = self.inputs, self.outputs
        self.controls = RunControls(PLACE, out.status, out.clock, inputs.run, inputs.stop, session.visits)
        self.controls.connect([inputs.run.click, inputs.question.submit], self.on_run, inputs.asked, out.widgets)
        self.controls.stop_on([inputs.stop.click, *(picture.change for picture in inputs.pictures)])
        changes = [picture.change for picture in inputs.pictures]
        changes += [inputs.retention.change, inputs.model.change]
        gr.on(changes, self.on_budget, inputs.asked, inputs.budget, **PREVIEW)

    @property
    def shared(self) -> dict[str, Any]:
        """See Page; pictures and question are of this page alone."""
        inputs = self.inputs
        return {"model": inputs.model, "keep": inputs.retention, "method": inputs.method}

    @property
    def opened(self) -> dict[str, Any]:
        """See Page."""
        return {"fn": self.on_budget, "inputs": self.inputs.asked, "outputs": self.inputs.budget, **PREVIEW}

    @answering
    def on_budget(self, model: str, question: str, percent: float, method: str, *paths: str | None) -> str:
        """What the pictures and the retention stand for, in words, or why they cannot be asked about."""
        try:
            tokens = self.session.prompt_tokens(model, self._open(paths), question or "?")
        except InputError as error:
            return explained(error)
        return PROMPT_LENGTH.format(share=formatting.percent(percent / 100), tokens=tokens)

    def on_run(
        self, model: str, question: str, percent: float, method: str, *paths: str | None
    ) -> Iterator[dict[Any, Any]]:
        """Both runs, streaming. Stop closes this generator, and with it the computation."""
        try:
            yield from self._run(model, self._open(paths), question, check_share(percent / 100), method)
        except Exception as error:
            sentence = explained(error)
            gr.Warning(sentence, title=TOAST)
            yield {self.outputs.status: f"**{sentence}**"}

    def _run(
        self, model: str, opened: OpenedSource, question: str, retention: float, method: str
    ) -> Iterator[dict[Any, Any]]:
        out: dict[Any, Any] = {
            self.outputs.gallery: waiting_tiles([f"Picture {n + 1}" for n in range(len(opened.pictures))])
        }
        drawn: Trace | None = None
        with closing(self.session.compare(model, opened, question, retention, method)) as events:
            for now in comparison_snapshots(events):
                # every step repeats what was shown before: the browser may skip a step, but never the last one
                out |= self.outputs.fill(now, not is_random(model))
                if now.trace is not None and now.trace is not drawn:
                    drawn = now.trace
                    out |= self.outputs.draw(opened, drawn)
                yield dict(out)

    def _open(self, paths: Sequence[str | None]) -> OpenedSource:
        """The chosen pictures, in order. Raises InputError if there is none, or one that cannot be read."""
        chosen = tuple(path for path in paths if path)
        if not chosen:
            raise InputError(NO_PICTURES)
        return self.session.open(Album(chosen))
