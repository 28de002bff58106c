"""What the answers on the page were asked, so that the page can say when a setting has changed since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vscan_core.catalog import is_random

from ..formatting import percent
from ..runs.comparison import ComparisonSnapshot
from ..session.session import Session
from ..session.sources import Clip, OpenedSource
from ..ui.history import EarlierRun
from ..ui.messages import MEANINGLESS_TEXT, NO_WORDS


@dataclass(frozen=True)
class CompareSettings:
    """The settings of a run: plain values."""

    model: str
    source: str | Clip  # the file
    digest: str  # of its content
    question: str
    percent: float
    method: str

    @property
    def retention(self) -> float:
        """As a share."""
        return self.percent / 100

    @property
    def about(self) -> tuple[str, str, str]:
        """What was asked about what, whatever the method."""
        return self.model, self.digest, self.question.strip()

    def changed(self, now: CompareSettings) -> list[str]:
        """Names of the settings that are different `now`."""
        pairs = {
            "the picture": (self.digest, now.digest),
            "the question": (self.question.strip(), now.question.strip()),
            "the share of tokens": (round(self.percent, 1), round(now.percent, 1)),
            "the method": (self.method, now.method),
            "the model": (self.model, now.model),
        }
        return [name for name, (one, other) in pairs.items() if one != other]


@dataclass(frozen=True)
class ShownComparison:
    """What a visitor's page shows: the settings of its run, and the run."""

    settings: CompareSettings
    now: ComparisonSnapshot


def earlier_comparison(shown: ShownComparison | None) -> EarlierRun | None:
    """For the list of earlier runs, once both runs are over; videos are left out, since nothing shows them small."""
    if shown is None or not shown.now.ended or isinstance(shown.settings.source, Clip):
        return None
    asked, (_, text) = shown.settings, shown.now.texts
    values = {"model": asked.model, "question": asked.question, "keep": asked.percent, "method": asked.method}
    said = MEANINGLESS_TEXT if is_random(asked.model) else text or NO_WORDS
    words = f"{asked.method} at {percent(asked.retention)}: {said}"
    return EarlierRun("compare", {**values, "picture": asked.source}, words)


def chosen_settings(
    session: Session, model: str, picture: str | None, video: str | None, question: str, percent: float, method: str
) -> tuple[OpenedSource, CompareSettings]:
    """What is open, and the settings. Raises InputError if nothing has been chosen, or a bad file."""
    source = chosen_source(session, model, picture, video)
    opened = session.open(source)
    return opened, CompareSettings(model, source, opened.digest, question or "", percent, method)


def chosen_source(session: Session, model: str, picture: str | None, video: str | None) -> str | Clip:
    """What is asked about: the video if there is one and the model takes it, else the picture; "": nothing."""
    frames = session.engine.frames(model) if video else 0
    return Clip(video, frames) if video and frames else picture or ""


def changed_note(names: Sequence[str]) -> str:
    """A sentence of fixed words, as HTML; nothing if no setting has changed."""
    if not names:
        return ""
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    verb = "has" if len(names) == 1 else "have"
    return f'<p class="changed">Since these answers, {listed} {verb} changed. Press <b>Run</b> to ask again.</p>'
