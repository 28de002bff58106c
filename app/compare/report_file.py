"""The files of the run that the page shows: a report (HTML) and a page (PNG)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from vscan_core.catalog import is_random
from vscan_core.draw.canvas import at_drawing_size
from vscan_core.errors import InputError
from vscan_core.html_report import html_report
from vscan_core.media.videos import Video
from vscan_core.recording.recorded import REPEATED_TIMES, Recording
from vscan_core.recording.recorder import from_answers
from vscan_core.report import SHARED

from ..formatting import percent
from ..runs.comparison import ComparisonSnapshot
from ..runs.copy_as import Recipe
from ..runs.export_png import PageHead
from ..runs.on_cpu import on_cpu
from ..runs.pairs import pairs_summary
from ..session.session import Session
from ..ui.messages import KEPT_EARLIER, MEANINGLESS_TEXT
from ..ui.saving import connect_saving
from .asked import CompareSettings, ShownComparison
from .page_file import comparison_as_png

PICTURES_ONLY = "A run about a video cannot be copied or saved as a report; please choose a picture."
FILE_NAME = "vscan-compare"


def recipe_of(settings: CompareSettings) -> Recipe:
    """A run as code. Raises InputError for a video."""
    if not isinstance(settings.source, str):
        raise InputError(PICTURES_ONLY)
    share = round(settings.retention, 4)  # 33.3 / 100 has more digits
    return Recipe(settings.model, settings.source, settings.question, (settings.method,), (share,))


class ReportFiles:
    """Writes a file when somebody asks for it, and hands it to the browser."""

    def __init__(self, session: Session, report: gr.Button, page: gr.Button, file: gr.File) -> None:
        self.session, self.buttons, self._file = session, [report, page], file

    def connect(self, shown: gr.State) -> None:
        """Once, inside the page: `shown` is the run that the page shows."""
        for button, write, ending in zip(self.buttons, (self.report, self.page), ("html", "png"), strict=True):
            connect_saving(button, write, shown, self._file, f"{FILE_NAME}.{ending}")

    def on_end(self, shown: ShownComparison | None) -> list[Any]:
        """A run has ended, one way or another: what was complete can be saved; videos cannot."""
        there = shown is not None and shown.now.ended and isinstance(shown.settings.source, str)
        return [gr.update(interactive=there) for _ in self.buttons]

    def report(self, shown: ShownComparison) -> bytes:
        """The report (HTML)."""
        return html_report(self._recording(shown)).encode()

    def page(self, shown: ShownComparison) -> bytes:
        """The page (PNG)."""
        settings, engine = shown.settings, self.session.engine
        cards = engine.models()
        image = self.session.open(settings.source).image
        assert not isinstance(image, Video)
        title = engine.method(settings.method).title
        kept = f"{title} at {percent(settings.retention)} of the visual tokens, averaged over the layers"
        model = cards[settings.model].title if settings.model in cards else settings.model
        head = PageHead(
            "VScan Compare",
            settings.question,
            (f"{model} · {engine.place(self.session.device(settings.model).name)}", kept),
        )
        note = MEANINGLESS_TEXT if is_random(settings.model) else None
        return comparison_as_png(head, shown.now, image, (title, settings.retention), note)

    def _recording(self, shown: ShownComparison) -> Recording:
        settings, now = shown.settings, shown.now
        image = self.session.open(settings.source).image
        assert not isinstance(image, Video)
        answers = [on_cpu(answer) for answer in now.answers if answer]
        engine, lvlm = self.session.engine, self.session.model(settings.model)
        reducers = [None, engine.reducer(lvlm, settings.method, settings.retention)]
        facts = engine.provenance(recipe_of(settings).as_command, self.session.device(settings.model).name)
        if any(answer.timings.vision_shared for answer in answers):
            facts["vision encoder"] = SHARED
        if now.kept:
            facts["baseline"] = f"its answer was {KEPT_EARLIER}"
        picture = at_drawing_size(image)
        found = from_answers(settings.model, picture, settings.question, answers, reducers, facts=facts)
        return _with_pairs(found, now)


def _with_pairs(recording: Recording, now: ComparisonSnapshot) -> Recording:
    """Times as medians of the pairs, where the page gives a factor; else of the single runs."""
    found = pairs_summary(now.pairs)
    if found is None or found.busy or not found.enough:
        return recording
    both = [pair.baseline for pair in now.pairs], [pair.reduced for pair in now.pairs]
    repeats = [{name: tuple(getattr(one, name) for one in run) for name in REPEATED_TIMES} for run in both]
    runs = [replace(run, repeats=times) for run, times in zip(recording.runs, repeats, strict=True)]
    return replace(recording, runs=tuple(runs))
