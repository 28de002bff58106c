"""The HTML report of the run that the page shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache

from vscan_core.bench.record import provenance
from vscan_core.draw.canvas import at_drawing_size
from vscan_core.errors import InputError
from vscan_core.html_report import html_report
from vscan_core.media.videos import Video
from vscan_core.recording.recorded import REPEATED_TIMES, Recording
from vscan_core.recording.recorder import from_answers
from vscan_core.report import SHARED

from ..runs.comparison import ComparisonSnapshot
from ..runs.copy_as import Recipe
from ..runs.on_cpu import on_cpu
from ..runs.pairs import pairs_summary
from ..session.session import Session
from ..ui.errors import answering
from ..ui.messages import KEPT_EARLIER
from .asked import CompareSettings, ShownComparison

PICTURES_ONLY = "A run about a video cannot be copied or saved as a report; please choose a picture."
REPORT_NAME = "vscan-compare.html"


def recipe_of(settings: CompareSettings) -> Recipe:
    """A run as code. Raises InputError for a video."""
    if not isinstance(settings.source, str):
        raise InputError(PICTURES_ONLY)
    share = round(settings.retention, 4)  # 33.3 / 100 has more digits
    return Recipe(settings.model, settings.source, settings.question, (settings.method,), (share,))


class ReportFile:
    """Writes the report once a run is over, and hands it to the button that saves it."""

    def __init__(self, session: Session, button: gr.DownloadButton) -> None:
        self.session, self.button = session, button

    @answering
    def on_end(self, shown: ShownComparison | None) -> Any:
        """A run has ended, one way or another: what was complete can be saved; videos cannot."""
        if shown is None or not shown.now.ended or not isinstance(shown.settings.source, str):
            return gr.update(value=None, interactive=False)
        content = html_report(self._recording(shown)).encode()
        return gr.update(value=save_bytes_to_cache(content, REPORT_NAME, self.button.GRADIO_CACHE), interactive=True)

    def _recording(self, shown: ShownComparison) -> Recording:
        settings, now = shown.settings, shown.now
        image = self.session.open(settings.source).image
        assert not isinstance(image, Video)
        answers = [on_cpu(answer) for answer in now.answers if answer]
        reducers = [None, self.session.engine.method(settings.method)(settings.retention)]
        device = self.session.device(settings.model).name
        facts = provenance(recipe_of(settings).as_command, device)
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
