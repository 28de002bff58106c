"""The Compare page: ask one question twice, with all visual tokens and with few, and see what was kept."""

from __future__ import annotations

from typing import Any

import gradio as gr

from vscan_core.errors import InputError

from .. import formatting
from ..runs.copy_as import Recipe, copy_buttons
from ..session.examples import Example
from ..session.first_cut import FirstCut
from ..session.session import Session
from ..session.sources import OpenedSource
from ..stage.view import StageView, preview_view, run_view
from ..ui.errors import answering, explained
from ..ui.events import MODEL_LOADING, PREVIEW, PRIVATE
from ..ui.inputs import examples_set
from ..ui.messages import FEW_LEFT, READ_AGAIN_IF_UNSURE
from ..ui.page import Page
from ..ui.run_events import RunControls
from .about import about
from .asked import CompareSettings, ShownComparison, chosen_settings, chosen_source, earlier_comparison
from .figures import BY_FORMULA, ONE_READING, exact_figures
from .inputs import AskInputs, HowInputs, ask_inputs, how_inputs
from .mattered import Mattered
from .outputs import START, CompareOutputs, compare_outputs
from .put_back import PutBack
from .race import RACE
from .report_file import ReportFiles, recipe_of
from .running import ComparisonRuns
from .token_panel import TokenPanel, token_panel

# whether nothing has been run on this page so far
UNASKED = "(answered) => [answered, (window.runsOf?.['']?.runs ?? 0) === 0]"
# where the map is not beside the button
TO_THE_MAP = """() => { if (window.innerWidth < 700)
    document.querySelector("#overlay").scrollIntoView({ behavior: "smooth", block: "start" }); }"""
SMALL_PERCENT = 5


class ComparePage(Page):
    """The widgets of the page and what happens when they are used."""

    title = "Compare"

    def __init__(self, session: Session, examples: list[Example]) -> None:
        self.session = session
        self.shown = gr.State(None)  # ShownComparison | None
        self.ready = gr.State(0)  # changes once the page shows a preview
        self.answered = gr.State(None)  # the answers of the first example
        self.ask: AskInputs = ask_inputs(examples)
        with gr.Row(elem_id="body"):
            with gr.Column(scale=6, min_width=320, elem_id="stage-column"):
                self.tokens: TokenPanel = token_panel()
            with gr.Column(scale=5, min_width=320, elem_id="results", elem_classes="results"):
                self.outputs: CompareOutputs = compare_outputs(self.ask.status, self.ask.clock)
                self.how: HowInputs = how_inputs(session)
                examples_set(self.how.retention, self.ask.examples, examples)
                with self.outputs.tools:  # again: now there is what a copy is made of
                    copy_buttons("", self._settings, self.recipe)
        about()
        self.runs = ComparisonRuns(session, examples, self.outputs, self.tokens, self.shown)
        self.controls = RunControls("", self.ask.status, self.ask.clock, self.ask.run, self.ask.stop, session.visits)
        self.put_back = PutBack(session, self.tokens, self._settings)
        self.mattered = Mattered(session, self.ask.status, self.tokens, self.view_of)
        self.files = ReportFiles(session, self.outputs.report, self.outputs.page, self.outputs.file)
        self._connect()

    @property
    def opened(self) -> dict[str, Any]:
        """Settings of the event that fills the page for a new visitor."""
        return {
            "fn": self.on_open,
            "inputs": self._settings,
            "outputs": [*self._preview_outputs, self.ready],
            **PREVIEW,
        }

    @property
    def asked(self) -> tuple[Any, ...]:
        """See Page."""
        return self.how.model, self.ask.picture, self.ask.question, self.how.retention

    @property
    def shared(self) -> dict[str, Any]:
        """See Page."""
        return super().shared | {"method": self.how.method}

    @property
    def ended(self) -> tuple[Any, Any, Any]:
        """See Page."""
        return self.run_over, self.shown, earlier_comparison

    def _connect(self) -> None:
        ask, how, out = self.ask, self.how, self.outputs
        filled = [self.shown, *out.widgets, *self.tokens.outputs]
        starts = [ask.run.click, ask.question.submit]
        self.run_over = self.controls.connect(starts, self.runs.on_run, self._settings, filled)
        again = self.controls.connect([out.repeat.click], self.runs.on_repeat, [self.shown], [self.shown, *out.widgets])
        asked = [*self._settings, self.shown]
        filled_map = [out.status, *self.tokens.outputs]
        mattered = self.controls.connect([out.mattered.click], self.mattered.on_ask, asked, filled_map)
        mattered.then(None, None, None, js=TO_THE_MAP, api_visibility="private")
        changed = [ask.picture.change, how.video.change]
        self.controls.stop_on([ask.stop.click, *changed])
        first = self.ready.change(self.runs.on_first, self._settings, self.answered, **PREVIEW)
        unasked = [self.answered, gr.Checkbox(visible=False)]
        first_shown = first.then(self.runs.on_show_first, unasked, filled, js=UNASKED, **PREVIEW)
        for over in (self.run_over, again, first_shown):
            over.then(self.files.on_end, self.shown, self.files.buttons, queue=False, **PRIVATE)
        for trigger in changed:
            trigger(self.on_picture, asked, self._preview_outputs, **PREVIEW)
        ask.question.change(self.on_question, asked, [out.exact, out.changed], **PREVIEW)
        for trigger in (how.retention.change, how.method.change):
            trigger(self.on_setting, asked, self._preview_outputs, **PREVIEW)
        loading = {**MODEL_LOADING, "show_progress": "full", "show_progress_on": self.tokens.stage}
        how.model.change(self.on_setting, asked, self._preview_outputs, **loading)
        self.files.connect(self.shown)
        out.race.click(None, None, None, js=RACE, api_visibility="private")

    @property
    def _settings(self) -> list[Any]:
        ask, how = self.ask, self.how
        return [how.model, ask.picture, how.video, ask.question, how.retention, how.method]

    @property
    def _preview_outputs(self) -> list[Any]:
        out = self.outputs
        return [self.how.budget, out.status, out.exact, out.changed, *self.tokens.outputs]

    @answering
    def on_setting(self, *values: Any) -> dict[Any, Any]:
        """A setting has changed: what is exact, the first cut drawn again, and whether the answers are of others."""
        *asked, shown = values
        try:
            return self._preview(*chosen_settings(self.session, *asked), shown)
        except InputError as error:
            return {self.how.budget: explained(error)}

    @answering
    def on_question(self, *values: Any) -> dict[Any, Any]:
        """Every key that is pressed comes here, so nothing is drawn."""
        *asked, shown = values
        try:
            opened, settings = chosen_settings(self.session, *asked)
            first = self._first_cut(opened, settings)
            return self._exact(first, opened, settings, shown)
        except InputError:
            return {self.outputs.changed: ""}

    @answering
    def on_picture(self, *values: Any) -> dict[Any, Any]:
        """Another picture or video; a bad one is reported at once."""
        *asked, shown = values
        try:
            return {self.ask.status: START} | self._preview(*chosen_settings(self.session, *asked), shown)
        except InputError as error:
            told = f"**{explained(error)}**" if chosen_source(self.session, *asked[:3]) else START
            return {self.ask.status: told, self.how.budget: ""} | self.tokens.clear()

    @answering
    def on_open(self, *asked: Any) -> dict[Any, Any]:
        """A new visitor: the picture that is there, and then (see `ready`) the first example's answers."""
        return self.on_picture(*asked, None) | {self.ready: 1}

    def _preview(
        self, opened: OpenedSource, settings: CompareSettings, shown: ShownComparison | None
    ) -> dict[Any, Any]:
        retention = settings.retention
        first = self._first_cut(opened, settings)
        view = preview_view(first, retention, self.session.engine.method(settings.method).title)
        budget = formatting.budget_text(retention, first.schedule, first.trace.tokens)
        return {
            self.how.budget: ". ".join(
                [
                    budget,
                    *[READ_AGAIN_IF_UNSURE] * first.reads_twice,
                    *[FEW_LEFT] * (settings.percent < SMALL_PERCENT and not first.reads_twice),
                ]
            ),
            **self._exact(first, opened, settings, shown),
            **self.tokens.fill(opened, view, settings),
        }

    def view_of(self, opened: OpenedSource, settings: CompareSettings, shown: ShownComparison | None) -> StageView:
        """The map of the run that is shown, if it is one with these settings; else of the first cut."""
        title, retention = self.session.engine.method(settings.method).title, settings.retention
        if shown and shown.now.trace and not shown.settings.changed(settings):
            return run_view(shown.now.trace, retention, title)
        return preview_view(self._first_cut(opened, settings), retention, title)

    def _first_cut(self, opened: OpenedSource, settings: CompareSettings) -> FirstCut:
        return self.session.preview(settings.model, opened, settings.retention, settings.method, settings.question)

    def recipe(self, *asked: Any) -> Recipe:
        """What is chosen now, as code. Raises InputError."""
        return recipe_of(chosen_settings(self.session, *asked)[1])

    def _exact(
        self, first: FirstCut, opened: OpenedSource, settings: CompareSettings, shown: ShownComparison | None
    ) -> dict[Any, Any]:
        """What follows from the settings alone, and whether the answers are of others."""
        tokens, schedule = first.trace.tokens, first.schedule
        saved = self.session.savings(settings.model, opened, settings.question.strip() or "?", schedule, tokens)
        steps = [tokens, *(number for _, number in sorted(schedule.items()))]
        changed = shown.settings.changed(settings) if shown else []
        label = ONE_READING if first.reads_twice else BY_FORMULA
        return {self.outputs.exact: exact_figures(steps, *saved, label)} | self.outputs.change(changed)
