"""The Arena: one picture, one question, one budget, any set of methods, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache, save_pil_to_cache

from app import words
from app.arena.poster import Head, poster
from app.arena.rounds import Round, rounds
from app.arena.sheet import Settings, as_bytes, settings_of, sheet
from app.arena.spending import spending
from app.errors import answering, explained
from app.examples import Example
from app.right_answers import RightAnswers
from app.session import Session
from app.tabs.arena_ask import ArenaAsk, arena_ask
from app.tabs.arena_board import START, Board, board, clear, fill, no_file
from app.tabs.panes import NOISE
from app.tabs.wiring import PREVIEW, PRIVATE, RUN, STOPPED, WAIT
from vscan_core import overlay
from vscan_core.errors import InputError
from vscan_core.trace import Trace


@dataclass(frozen=True)
class Kept:
    """What the visitor's state holds for the downloads: plain values, a few kilobytes per method."""

    settings: Settings
    now: Round
    path: str
    title: str  # of the model
    noise: str | None


class ArenaPage:
    """The widgets of the tab and what happens when they are used."""

    def __init__(self, session: Session, examples: list[Example]) -> None:
        self.session = session
        self._right = RightAnswers(examples)
        self.state = gr.State(None)
        with gr.Row():
            with gr.Column(scale=4, min_width=300, elem_id="arena-ask"):
                self.ask: ArenaAsk = arena_ask(session, examples)
            with gr.Column(scale=9, min_width=300):
                self.board: Board = board()
        self._wire()

    @property
    def opened(self) -> dict[str, Any]:
        """Arguments of `Tab.select` that fill the tab when it is opened."""
        return {"fn": self.on_budget, "inputs": self._budget_inputs(), "outputs": self.ask.budget, **PREVIEW}

    def _budget_inputs(self) -> list[Any]:
        return [self.ask.model, self.ask.picture, self.ask.retention, self.ask.methods]

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
        ask.picture.change(self.on_picture, self._budget_inputs(), [*outputs, ask.budget], **PREVIEW)
        changes = [ask.retention.change, ask.methods.change, ask.model.change]
        gr.on(changes, self.on_budget, self._budget_inputs(), ask.budget, **PREVIEW)

    @answering
    def on_budget(self, model: str, path: str | None, percent: float, methods: Sequence[str]) -> str:
        """The slider, the model or the methods changed: the budget in words."""
        try:
            return spending(self.session, model, path, percent / 100, methods)
        except InputError as error:
            return explained(error)

    @answering
    def on_picture(self, model: str, path: str | None, percent: float, methods: Sequence[str]) -> dict[Any, Any]:
        """Another picture: the old answers go. A bad picture is told at once."""
        out = self._buttons(running=False) | {self.state: None}
        try:
            budget = spending(self.session, model, path, percent / 100, methods)
        except InputError as error:
            return out | clear(self.board, f"**{explained(error)}**" if path else START) | {self.ask.budget: ""}
        return out | clear(self.board) | {self.ask.budget: budget}

    def on_run(
        self, model: str, path: str | None, question: str, percent: float, methods: Sequence[str]
    ) -> Iterator[dict[Any, Any]]:
        """Baseline and all methods, streaming. Stop closes this generator, and with it the computation."""
        try:
            yield from self._run(model, path, question, percent / 100, list(dict.fromkeys(methods)))
        except Exception as error:
            sentence = explained(error)
            gr.Warning(sentence, title="Please check")
            yield {self.board.status: f"**{sentence}**"} | self._buttons(running=False)

    def _run(
        self, model: str, path: str | None, question: str, retention: float, methods: list[str]
    ) -> Iterator[dict[Any, Any]]:
        noise = NOISE if model.startswith("dummy:") else None
        out: dict[Any, Any] = {self.state: None} | dict.fromkeys(self.board.files, no_file())
        with closing(self.session.arena(model, path, question, retention, methods)) as events:
            settings = settings_of(self.session, model, path, question, retention, methods)
            title = self.session.engine.models()[model].title if model in self.session.engine.models() else model
            known = self.session.engine.methods()
            titles = {name: known[name].title for name in methods}
            for now in rounds(events, titles, lambda trace: self._picture(str(path), trace), explained):
                # every step repeats what was shown before: the browser may skip a step, but never the last one
                out |= fill(self.board, now, noise) | self._buttons(running=True)
                if now.some:
                    out[self.state] = Kept(settings, now, str(path), title, noise)
                if now.ended:
                    out[self.board.status] = noise or now.status + self._right.sentence(path, question)
                yield dict(out)

    def _picture(self, path: str, trace: Trace) -> str:
        """The tokens of the run that answered, drawn into a file."""
        picture = self.session.picture(path)
        drawn = overlay.draw(picture.canvas, trace.boxes(0), overlay.fates(trace.images[0]), picture.image.size)
        return save_pil_to_cache(drawn, self.board.gallery.GRADIO_CACHE, "tokens", "jpeg")

    @answering
    def on_end(self, kept: Kept | None) -> dict[Any, Any]:
        """The round is over, one way or another: what was shown can be saved."""
        return self._buttons(running=False) | self._files(kept)

    @answering
    def on_stop(self, kept: Kept | None) -> dict[Any, Any]:
        """Stop was pressed; Gradio closes the run's generator. What had ended can be saved."""
        return self._buttons(running=False) | self._files(kept) | {self.board.status: STOPPED}

    def _files(self, kept: Kept | None) -> dict[Any, Any]:
        if kept is None:
            return dict.fromkeys(self.board.files, no_file())
        numbers = as_bytes(sheet(kept.settings, kept.now, kept.noise is None))
        picture = self.session.picture(kept.path).canvas
        share = words.percent(kept.settings.retention)
        budget = f"{share} of the visual tokens, averaged over the layers · {kept.settings.device}"
        head = Head("VScan Arena", kept.settings.question, (kept.title, budget))
        page = poster(head, kept.now, picture, kept.noise)
        found = {}
        for button, data, name in zip(self.board.files, (numbers, page), ("arena.json", "arena.png"), strict=True):
            file = save_bytes_to_cache(data, f"vscan-{name}", button.GRADIO_CACHE)
            found[button] = gr.update(value=file, interactive=True)
        return found

    def _buttons(self, running: bool) -> dict[Any, Any]:
        return {self.ask.run: gr.update(interactive=not running), self.ask.stop: gr.update(interactive=running)}
