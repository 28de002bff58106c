"""The Sweep: one picture, one question, one method, at every retention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache, save_pil_to_cache

from app.arena.rounds import Round, rounds
from app.arena.sheet import as_bytes
from app.errors import answering, explained
from app.examples import Example
from app.right_answers import RightAnswers
from app.session import Session
from app.sweep import files
from app.sweep.asked import Asked, asked, spending, sweep, titles
from app.tabs.arena_board import no_file
from app.tabs.panes import NOISE
from app.tabs.sweep_ask import SweepAsk, sweep_ask
from app.tabs.sweep_board import START, SweepBoard, chart, clear, fill, sweep_board
from app.tabs.wiring import PREVIEW, PRIVATE, RUN, STOPPED, WAIT
from vscan_core import overlay
from vscan_core.errors import InputError
from vscan_core.trace import Trace


@dataclass(frozen=True)
class Kept:
    """What the visitor's state holds for the downloads: plain values, a few kilobytes per run."""

    asked: Asked
    now: Round
    path: str
    noise: str | None


class SweepPage:
    """The widgets of the tab and what happens when they are used."""

    def __init__(self, session: Session, examples: list[Example]) -> None:
        self.session = session
        self._right = RightAnswers(examples)
        self.state = gr.State(None)
        with gr.Row():
            with gr.Column(scale=4, min_width=300, elem_id="sweep-ask"):
                self.ask: SweepAsk = sweep_ask(session, examples)
            with gr.Column(scale=9, min_width=300):
                self.board: SweepBoard = sweep_board()
        self._wire()

    @property
    def opened(self) -> dict[str, Any]:
        """Arguments of `Tab.select` that fill the tab when it is opened."""
        return {"fn": self.on_budget, "inputs": self.ask.planned, "outputs": self.ask.budget, **PREVIEW}

    def _wire(self) -> None:
        ask, buttons = self.ask, [self.ask.run, self.ask.stop]
        starts = [ask.run.click, ask.question.submit]
        gr.on(starts, None, None, [self.board.status, *buttons], js=WAIT, **PRIVATE)
        outputs = [*buttons, self.state, *self.board.outputs]
        running = gr.on(starts, self.on_run, ask.asked, outputs, **RUN)
        ends = [*buttons, *self.board.files]
        running.then(self.on_end, self.state, ends, queue=False, **PRIVATE)
        stopping = ask.stop.click(None, None, None, cancels=[running], **PRIVATE)
        stopping.then(self.on_stop, self.state, [*ends, self.board.status], queue=False, **PRIVATE)
        ask.picture.change(None, None, None, cancels=[running], **PRIVATE)
        ask.picture.change(self.on_picture, ask.planned, [*outputs, ask.budget], **PREVIEW)
        changes = [ask.retentions.change, ask.method.change, ask.model.change]
        gr.on(changes, self.on_budget, ask.planned, ask.budget, **PREVIEW)

    @answering
    def on_budget(self, model: str, path: str | None, retentions: Sequence[str], method: str) -> str:
        """The retentions, the method or the model changed: the counts in words."""
        try:
            return spending(self.session, model, path, [float(share) for share in retentions], method)
        except InputError as error:
            return explained(error)

    @answering
    def on_picture(self, model: str, path: str | None, retentions: Sequence[str], method: str) -> dict[Any, Any]:
        """Another picture: the old answers go. A bad picture is told at once."""
        out = self._buttons(running=False) | {self.state: None}
        try:
            budget = spending(self.session, model, path, [float(share) for share in retentions], method)
        except InputError as error:
            return out | clear(self.board, f"**{explained(error)}**" if path else START) | {self.ask.budget: ""}
        return out | clear(self.board) | {self.ask.budget: budget}

    def on_run(
        self, model: str, path: str | None, question: str, retentions: Sequence[str], method: str
    ) -> Iterator[dict[Any, Any]]:
        """The baseline and every retention, streaming. Stop closes this generator, and with it the computation."""
        try:
            yield from self._run(
                path, asked(self.session, model, path, question, [float(share) for share in retentions], method)
            )
        except Exception as error:
            sentence = explained(error)
            gr.Warning(sentence, title="Please check")
            yield {self.board.status: f"**{sentence}**"} | self._buttons(running=False)

    def _run(self, path: str | None, asked: Asked) -> Iterator[dict[Any, Any]]:
        noise = NOISE if asked.model.startswith("dummy:") else None
        out: dict[Any, Any] = {self.state: None} | dict.fromkeys(self.board.files, no_file())
        ended = 0
        with closing(sweep(self.session, path, asked)) as events:
            moments = rounds(events, titles(asked), lambda trace: self._picture(str(path), trace), explained, of="runs")
            for now in moments:
                # every step repeats what was shown before: the browser may skip a step, but never the last one
                out |= fill(self.board, now, noise) | self._buttons(running=True)
                if now.some:
                    out[self.state] = Kept(asked, now, str(path), noise)
                over = sum(entry.over for entry in now.entries)
                if over > ended:
                    ended, out[self.board.chart] = over, chart(now, noise)
                if now.ended:
                    out[self.board.status] = noise or now.status + self._right.sentence(path, asked.question)
                yield dict(out)

    def _picture(self, path: str, trace: Trace) -> str:
        """The tokens of the run that answered, drawn into a file."""
        picture = self.session.picture(path)
        drawn = overlay.draw(picture.canvas, trace.boxes(0), overlay.fates(trace.images[0]), picture.image.size)
        return save_pil_to_cache(drawn, self.board.strip.GRADIO_CACHE, "tokens", "jpeg")

    @answering
    def on_end(self, kept: Kept | None) -> dict[Any, Any]:
        """The sweep is over, one way or another: what was shown can be saved."""
        return self._buttons(running=False) | self._files(kept)

    @answering
    def on_stop(self, kept: Kept | None) -> dict[Any, Any]:
        """Stop was pressed; Gradio closes the run's generator. What had ended can be saved."""
        return self._buttons(running=False) | self._files(kept) | {self.board.status: STOPPED}

    def _files(self, kept: Kept | None) -> dict[Any, Any]:
        if kept is None:
            return dict.fromkeys(self.board.files, no_file())
        cards, methods = self.session.engine.models(), self.session.engine.methods()
        title = cards[kept.asked.model].title if kept.asked.model in cards else kept.asked.model
        found = files.sheet(kept.asked, kept.now, kept.noise is None)
        picture = self.session.picture(kept.path).canvas
        page = files.page(kept.asked, kept.now, picture, title, methods[kept.asked.method].title, kept.noise)
        contents = {"json": as_bytes(found), "csv": files.as_csv(found), "png": page}
        updates = {}
        for button, (kind, data) in zip(self.board.files, contents.items(), strict=True):
            file = save_bytes_to_cache(data, f"vscan-sweep.{kind}", button.GRADIO_CACHE)
            updates[button] = gr.update(value=file, interactive=True)
        return updates

    def _buttons(self, running: bool) -> dict[Any, Any]:
        return {self.ask.run: gr.update(interactive=not running), self.ask.stop: gr.update(interactive=running)}
