"""What the tabs of several runs share: they stream in side by side, can be stopped, and can be saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache, save_pil_to_cache

from vscan_core.draw import overlay
from vscan_core.errors import InputError
from vscan_core.trace import Trace

from ..arena.inputs import ArenaAsk
from ..arena.outputs import Board, no_file
from ..session.examples import Example
from ..session.right_answers import RightAnswers
from ..session.session import Session
from ..sweep.inputs import SweepAsk
from ..sweep.outputs import SweepBoard
from ..ui.errors import answering, explained
from ..ui.events import PREVIEW, PRIVATE, RUN, STOPPED, WAIT


class RunsPage(ABC):
    """The wiring of one tab. `plan` is what the visitor chose beside model, picture and question."""

    ask: ArenaAsk | SweepAsk
    board: Board | SweepBoard

    def __init__(self, session: Session, examples: list[Example]) -> None:
        self.session = session
        self._right = RightAnswers(examples)
        self.state = gr.State(None)
        with gr.Row():
            self._build(examples)
        self._wire()

    @abstractmethod
    def _build(self, examples: list[Example]) -> None:
        """Make `ask` and `board`."""

    @abstractmethod
    def _spending(self, model: str, path: str | None, *plan: Any) -> str:
        """What the plan costs, in words."""

    @abstractmethod
    def _run(self, model: str, path: str | None, question: str, *plan: Any) -> Iterator[dict[Any, Any]]:
        """All runs, streaming."""

    @abstractmethod
    def _saved(self, kept: Any) -> Iterable[tuple[str, bytes]]:
        """Name and content of every file, in the order of the buttons."""

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
        model, _, *plan = ask.planned
        gr.on([widget.change for widget in (*plan, model)], self.on_budget, ask.planned, ask.budget, **PREVIEW)

    @answering
    def on_budget(self, model: str, path: str | None, *plan: Any) -> str:
        """The plan or the model changed: what it costs, in words."""
        try:
            return self._spending(model, path, *plan)
        except InputError as error:
            return explained(error)

    @answering
    def on_picture(self, model: str, path: str | None, *plan: Any) -> dict[Any, Any]:
        """Another picture: the old answers go. A bad picture is told at once."""
        out = self._buttons(running=False) | {self.state: None}
        try:
            budget = self._spending(model, path, *plan)
        except InputError as error:
            return out | self.board.clear(f"**{explained(error)}**" if path else None) | {self.ask.budget: ""}
        return out | self.board.clear() | {self.ask.budget: budget}

    def on_run(self, model: str, path: str | None, question: str, *plan: Any) -> Iterator[dict[Any, Any]]:
        """The baseline and all runs, streaming. Stop closes this generator, and with it the computation."""
        try:
            yield from self._run(model, path, question, *plan)
        except Exception as error:
            sentence = explained(error)
            gr.Warning(sentence, title="Please check")
            yield {self.board.status: f"**{sentence}**"} | self._buttons(running=False)

    @answering
    def on_end(self, kept: Any) -> dict[Any, Any]:
        """The runs are over, one way or another: what was shown can be saved."""
        return self._buttons(running=False) | self._files(kept)

    @answering
    def on_stop(self, kept: Any) -> dict[Any, Any]:
        """Stop was pressed; Gradio closes the run's generator. What had ended can be saved."""
        return self._buttons(running=False) | self._files(kept) | {self.board.status: STOPPED}

    def _files(self, kept: Any) -> dict[Any, Any]:
        found = dict.fromkeys(self.board.files, no_file())
        if kept is not None:
            for button, (name, data) in zip(self.board.files, self._saved(kept), strict=True):
                file = save_bytes_to_cache(data, name, button.GRADIO_CACHE)
                found[button] = gr.update(value=file, interactive=True)
        return found

    def _buttons(self, running: bool) -> dict[Any, Any]:
        return {self.ask.run: gr.update(interactive=not running), self.ask.stop: gr.update(interactive=running)}

    def _picture(self, path: str, trace: Trace) -> str:
        """The tokens of the run that answered, drawn into a file."""
        picture = self.session.picture(path)
        drawn = overlay.draw(picture.canvas, trace.boxes(0), overlay.fates(trace.images[0]), picture.image.size)
        return save_pil_to_cache(drawn, self.ask.picture.GRADIO_CACHE, "tokens", "jpeg")
