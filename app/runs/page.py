"""What pages of several runs share: the runs stream in side by side, can be stopped, and can be saved."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

import gradio as gr
from gradio.processing_utils import save_pil_to_cache

from vscan_core.draw.canvas import at_drawing_size
from vscan_core.draw.fates import fates
from vscan_core.draw.token_map import token_map
from vscan_core.errors import InputError
from vscan_core.media.videos import Video
from vscan_core.trace import Trace

from .. import formatting
from ..session.examples import Example, RightAnswers
from ..session.session import Session
from ..session.sources import OpenedSource
from ..ui.charts import chart_updates
from ..ui.errors import TOAST, answering, explained
from ..ui.events import PREVIEW, PRIVATE
from ..ui.page import Page
from ..ui.run_events import RunControls, run_clock
from ..ui.saving import connect_saving
from .copy_as import Recipe
from .export_html import runs_as_html
from .export_json import json_file, runs_as_json
from .export_png import PageHead, page_as_png
from .inputs import PlanInputs, runs_inputs
from .outputs import RunsOutputs
from .progress import RunsSnapshot
from .settings import RunSettings, stream_runs

S = TypeVar("S", bound=RunSettings)
ALL_AGAIN = ", and all again if unsure"


@dataclass(frozen=True)
class ShownRuns(Generic[S]):
    """What the visitor's state holds for the files: a few kilobytes per run, on the CPU."""

    settings: S
    now: RunsSnapshot
    path: str  # of the picture


class RunsPage(Page, Generic[S]):
    """The widgets of the page and what happens when they are used.

    `plan` in its methods are the values of the page's own input widgets, such as retention and methods.
    """

    name: ClassVar[str]  # before the ids of its widgets, and in the names of its files
    plan_inputs: Callable[[Session, str], PlanInputs]  # builds the widgets of the plan, their ids after the str
    build_outputs: Callable[[str], RunsOutputs]  # builds the right column

    def __init__(self, session: Session, examples: list[Example]) -> None:
        self.session = session
        self._right = RightAnswers(examples)
        self.state = gr.State(None)
        place = f"{self.name}-"
        with gr.Row():
            with gr.Column(scale=4, min_width=300, elem_id=f"{place}ask"):
                self.inputs = runs_inputs(session, examples, place, self.plan_inputs)
            with gr.Column(scale=9, min_width=300, elem_classes="results"):
                clock = run_clock(place, f"#{place}status")
                self.outputs = self.build_outputs(place)
                self._build_below(place)
        run, stop = self.inputs.run, self.inputs.stop
        self.controls = RunControls(place, self.outputs.status, clock, run, stop, session.visits)
        self._connect()

    @abstractmethod
    def _budget(self, model: str, path: str | None, *plan: Any) -> str:
        """What the plan costs, in words. Raises InputError."""

    @abstractmethod
    def _settings(self, model: str, opened: OpenedSource, question: str, *plan: Any) -> S:
        """The settings of a run, checked. Raises InputError."""

    @abstractmethod
    def _plan_in_words(self, settings: S) -> str:
        """For the exports."""

    @abstractmethod
    def _recipe(self, settings: S, path: str) -> Recipe:
        """The runs as code."""

    def recipe(self, model: str, path: str | None, question: str, *plan: Any) -> Recipe:
        """What is chosen now, as code. Raises InputError."""
        return self._recipe(self._settings(model, self.session.open(path), question, *plan), str(path))

    @property
    def opened(self) -> dict[str, Any]:
        """Arguments of `Tab.select` that fill the page when it is opened."""
        inputs = self.inputs
        return {"fn": self.on_budget, "inputs": inputs.for_budget, "outputs": inputs.budget, **PREVIEW}

    def _build_below(self, place: str) -> None:
        """What a page has below the outputs of its runs; most have nothing."""

    def _connect(self) -> None:
        inputs, budget = self.inputs, self.inputs.budget
        filled = [self.state, *self.outputs.widgets]
        starts = [inputs.run.click, inputs.question.submit]
        run = self.controls.connect(starts, self.on_run, inputs.for_run, filled)
        self.run_over = run.then(self.on_end, self.state, [*self.outputs.saves.values()], queue=False, **PRIVATE)
        for extension, button in self.outputs.saves.items():
            name = f"vscan-{self.name}.{extension}"
            connect_saving(button, partial(self.written, extension), self.state, self.outputs.file, name)
        self.controls.stop_on([inputs.stop.click, inputs.picture.change])
        inputs.picture.change(self.on_picture, inputs.for_budget, [*filled, budget], **PREVIEW)
        changes = [widget.change for widget in (*inputs.plan, inputs.model)]
        gr.on(changes, self.on_budget, inputs.for_budget, budget, **PREVIEW)

    def _counts(self, model: str, retention: float, method: str, tokens: int) -> str:
        """Visual tokens of a picture of `tokens` from layer to layer, or why the method cannot run."""
        try:
            lvlm = self.session.model(model)
            reducer = self.session.engine.reducer(lvlm, method, retention)
            again = "" if reducer.unsure_below is None else ALL_AGAIN
            return formatting.schedule(reducer.schedule(tokens, lvlm.anatomy), tokens) + again
        except InputError as error:
            return f"cannot run here: {explained(error)}"

    @answering
    def on_budget(self, model: str, path: str | None, *plan: Any) -> str:
        """The plan or the model changed: what it costs, in words."""
        try:
            return self._budget(model, path, *plan)
        except InputError as error:
            return explained(error)

    @answering
    def on_picture(self, model: str, path: str | None, *plan: Any) -> dict[Any, Any]:
        """Another picture: the old answers go, and a bad picture is reported at once."""
        out: dict[Any, Any] = {self.state: None}
        budget = self.inputs.budget
        try:
            text = self._budget(model, path, *plan)
        except InputError as error:
            return out | self.outputs.clear(f"**{explained(error)}**" if path else None) | {budget: ""}
        return out | self.outputs.clear() | {budget: text}

    def on_run(self, model: str, path: str | None, question: str, *plan: Any) -> Iterator[dict[Any, Any]]:
        """The baseline and all runs, streaming. Stop closes this generator, and with it the computation."""
        try:
            opened = self.session.open(path)
            yield from self._run(str(path), opened, self._settings(model, opened, question, *plan))
        except Exception as error:
            sentence = explained(error)
            gr.Warning(sentence, title=TOAST)
            yield {self.outputs.status: f"**{sentence}**"}

    def _run(self, path: str, opened: OpenedSource, settings: S) -> Iterator[dict[Any, Any]]:
        out: dict[Any, Any] = {self.state: None} | self.outputs.no_files()
        over = 0
        with closing(stream_runs(self.session, opened, settings, lambda trace: self._picture(opened, trace))) as steps:
            for now in steps:
                # every step repeats what was shown before: the browser may skip a step, but never the last one
                out |= self.outputs.fill(now)
                if now.started:
                    out[self.state] = ShownRuns(settings, now, path)
                if now.over > over:
                    over = now.over
                    out |= chart_updates(self.outputs.charts, self.outputs.plots, now.runs)
                if now.ended:
                    right = self._right.sentence(opened.digest, settings.question)
                    out[self.outputs.status] = now.text_note or f"{now.status} {right}".strip()
                yield dict(out)

    @answering
    def on_end(self, shown: ShownRuns[S] | None) -> dict[Any, Any]:
        """The runs have ended, one way or another: what was shown can be saved."""
        return {button: gr.update(interactive=shown is not None) for button in self.outputs.saves.values()}

    def _picture(self, opened: OpenedSource, trace: Trace) -> str:
        """The tokens of the run that answered, drawn into a file."""
        image = trace.images[0]
        drawn = token_map(opened.image, image, trace.boxes(0), fates(image))
        file: str = save_pil_to_cache(drawn, self.inputs.picture.GRADIO_CACHE, "tokens", "jpeg")
        return file

    def written(self, extension: str, shown: ShownRuns[S]) -> bytes:
        """The content of a file."""
        return self._writers(shown)[extension]()

    def _writers(self, shown: ShownRuns[S]) -> dict[str, Callable[[], bytes]]:
        """By extension."""
        settings, cards = shown.settings, self.session.engine.models()
        model = cards[settings.model].title if settings.model in cards else settings.model
        plan, command = self._plan_in_words(settings), self._recipe(settings, shown.path).as_command
        head = PageHead(f"VScan {self.title}", settings.question, (model, f"{plan} · {settings.device}"))
        image = self.session.open(shown.path).image
        picture = at_drawing_size(image.frames[0] if isinstance(image, Video) else image)
        engine, lvlm = self.session.engine, self.session.model(settings.model)
        facts = engine.provenance(command, self.session.device(settings.model).name)
        return {
            "json": lambda: json_file(runs_as_json(settings, shown.now)),
            "png": lambda: page_as_png(head, shown.now, picture, self.outputs.columns.columns),
            "html": lambda: runs_as_html(settings, shown.now, picture, partial(engine.reducer, lvlm), plan, facts),
        }
