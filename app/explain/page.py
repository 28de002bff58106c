"""The How it works page: the two stages in six steps, on the visitor's own picture."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import gradio as gr

from vscan_core.catalog import is_random
from vscan_core.events import Done
from vscan_core.reducers import vscan
from vscan_core.resources import asset

from ..session.examples import Example, RightAnswers
from ..session.lru_cache import LRUCache
from ..session.session import Session
from ..session.sources import OpenedSource
from ..session.turn import OthersWait, Pair
from ..ui.errors import explained
from ..ui.events import PREVIEW, RUN
from ..ui.page import Page
from ..words.language import IN_ENGLISH
from . import recorded
from .recorded import label_of, recorded_story, recordings
from .story import StorySetting, story
from .words import HOW, LINKS

_FOLDER = Path(__file__).parent
_SCRIPTS = ("scene.js", "costs.js", "deck.js", "steps.js")  # in this order; steps.js starts the rest
_FINDINGS = asset().parent / "docs" / "findings.md"  # in a checkout; a wheel has none
KEPT_STORIES = 16
LIVE = ""  # the choice that is no recording
_PAIRS_S = 2.0  # seconds in which both runs are measured again, if they take no longer
TO_FILES = re.compile(r"!?\[([^\]]*)\]\((?!https?:)[^)]*\)")  # links that lead nowhere from a page
_DEFAULT_PERCENT = 11.1


class ExplainPage(Page):
    """A stage with six steps, and below it the same in more words."""

    title = "How it works"

    def __init__(self, session: Session, examples: list[Example]) -> None:
        self.session = session
        self._right = RightAnswers(examples)
        self._first = examples[0] if examples else Example("", "What is in the picture?")
        self._told: LRUCache[dict[str, Any]] = LRUCache(KEPT_STORIES)  # by model, picture, question and retention
        self._asked: list[Any] = []
        self.stage = gr.HTML(
            html_template=(_FOLDER / "stage.html").read_text(encoding="utf-8"),
            js_on_load="\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS),
            apply_default_css=False,
            elem_id="story",
        )
        self.status = gr.Markdown(elem_id="story-status")
        self._recordings = recordings(recorded.RECORDED_RUNS)
        self.choice = gr.Dropdown(
            [("The picture and the question of Compare", LIVE)]
            + [(label_of(each), name) for name, each in self._recordings.items()],
            value=LIVE,
            label="Story",
            filterable=False,
            visible=bool(self._recordings),
            elem_id="story-choice",
        )
        self.ask = gr.Button("Ask the model", visible=False, size="sm", elem_id="story-ask")
        self.waiting = gr.State(0)  # another number asks for the answers
        self._asks = count(1)
        _in_more_words()

    def goes_on_with(self, asked: tuple[Any, ...]) -> None:
        """See Page."""
        self._asked = list(asked)
        starts, shown = [self.waiting.change, self.ask.click], [self.stage, self.status, self.ask]
        answering = gr.on(starts, self.on_ask, self._asked or None, shown, **RUN)
        self.choice.change(**self.opened, cancels=[answering])

    @property
    def opened(self) -> dict[str, Any]:
        """Settings of the event that shows the first cut; a change of `waiting` then asks for the answers."""
        outputs = [self.stage, self.status, self.ask, self.waiting]
        return {"fn": self.on_opened, "inputs": [self.choice, *self._asked], "outputs": outputs, **PREVIEW}

    def on_opened(self, choice: str, *asked: Any) -> tuple[Any, Any, Any, Any]:
        """The first cut at once; asks for the answers if that takes about a second. Or a recorded run, if chosen."""
        if choice in self._recordings:
            return recorded_story(self._recordings[choice]), "", gr.update(visible=False), gr.skip()
        try:
            model, opened, question, percent = self._question(*asked)
            if told := self._told.find((model, opened.digest, question, percent)):
                return told, "", gr.update(visible=False), gr.skip()
            first = self.session.preview(model, opened, percent / 100)
            setting = self._setting(model, opened, question)
            told = story(opened.image, first.trace, first.boxes, setting, first.schedule)
            auto = self.session.engine.answers_unasked(model)
            return told, "", gr.update(visible=not auto), next(self._asks) if auto else gr.skip()
        except Exception as error:
            first_recorded = next(iter(self._recordings.values()), None)
            told = recorded_story(first_recorded) if first_recorded else gr.skip()
            instead = " A recorded run is shown instead." if first_recorded else ""
            return told, f"**{explained(error)}**{instead}", gr.update(visible=False), gr.skip()

    def on_ask(self, *asked: Any) -> Iterator[tuple[Any, Any, Any]]:
        """Both answers; a failure is said under the stage, which keeps what it shows."""
        try:
            yield gr.skip(), "The model is answering …", gr.update(interactive=False)
            yield self._with_answers(*self._question(*asked)), "", gr.update(visible=False, interactive=True)
        except Exception as error:
            yield gr.skip(), f"**{explained(error)}**", gr.update(visible=True, interactive=True)

    def _question(
        self,
        model: str | None = None,
        path: str | None = None,
        question: str | None = None,
        percent: float = _DEFAULT_PERCENT,
    ) -> tuple[str, OpenedSource, str, float]:
        """What the visitor has chosen in Compare, or the first example."""
        if not path:
            path, question = self._first.image, self._first.question
        opened = self.session.open(path)
        return model or self.session.default_model, opened, (question or self._first.question).strip(), percent

    def _setting(self, model: str, opened: OpenedSource, question: str) -> StorySetting:
        cards = self.session.engine.models()
        return StorySetting(
            question=question,
            model=cards[model].title if model in cards else model,
            layers=self.session.model(model).anatomy.text_layers,
            hardware=self.session.engine.hardware(self.session.device(model).name),
            readable=not is_random(model),
            right=self._right.sentence(opened.digest, question).replace("**", "").strip(),
        )

    def _with_answers(self, model: str, opened: OpenedSource, question: str, percent: float) -> dict[str, Any]:
        with closing(self.session.compare(model, opened, question, percent / 100, pairs_s=_PAIRS_S)) as events:
            seen = list(events)
        baseline, reduced = [event.answer for event in seen if isinstance(event, Done)]
        pairs = [(event.baseline, event.reduced) for event in seen if isinstance(event, Pair)]
        trace = reduced.trace
        image = trace.images[0]
        schedule = {cut.layer: len(cut.kept) for cut in image.cuts}
        setting = self._setting(model, opened, question)
        told = story(opened.image, image, trace.boxes(0).cpu(), setting, schedule, (baseline, reduced), pairs)
        if not any(isinstance(event, OthersWait) for event in seen):  # else measured in pairs by whoever comes next
            self._told.put((model, opened.digest, question, percent), told)
        return told


def _in_more_words() -> None:
    """The method as text, and what it links to, read when the page is built."""
    gr.Markdown(HOW, elem_id="how")
    gr.Markdown(LINKS, elem_id="how-links")
    with gr.Accordion("The code: VScan in one file", open=False):
        gr.Code(inspect.getsource(vscan), language="python", interactive=False, elem_id="how-code", show_label=False)
    with gr.Accordion("The card of the embedded model", open=False):
        gr.Markdown(_document(asset("mini", "README.md")), elem_classes=IN_ENGLISH)
    if _FINDINGS.is_file():
        with gr.Accordion("What this project found", open=False):
            gr.Markdown(_document(_FINDINGS), elem_classes=IN_ENGLISH)


def _document(path: Path) -> str:
    """A Markdown file without its front matter, its headings two levels lower, and links to files as plain text."""
    text = path.read_text(encoding="utf-8")
    if text.startswith("---\n"):
        text = text.partition("\n---\n")[2]
    return TO_FILES.sub(r"\1", re.sub(r"^#", "###", text, flags=re.MULTILINE))
