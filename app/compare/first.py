"""The answers that a page shows before anybody has asked: those of the first example, run once for all visitors."""

from __future__ import annotations

import threading
from contextlib import closing

from ..runs.comparison import ComparisonSnapshot, comparison_snapshots
from ..session.examples import Example
from ..session.session import Session
from ..session.sources import OpenedSource, digest_of
from .asked import CompareSettings

ANSWERED_UNASKED = "This example was answered when the page was first opened; its times are from then."
UNASKED_PAIRS_S = 1.0


class FirstAnswer:
    """Both runs on the first example with the settings of a fresh page, kept from the first visitor on.

    `stored`, if set, is shown instead of a run, for example a recorded one; `words` then say so.
    """

    def __init__(self, session: Session, examples: list[Example]) -> None:
        self.session, self.words = session, ANSWERED_UNASKED
        self._example = examples[0] if examples else None
        self._lock = threading.Lock()
        self.stored: ComparisonSnapshot | None = None
        self._settings: CompareSettings | None = None

    def of(self, opened: OpenedSource, settings: CompareSettings) -> ComparisonSnapshot | None:
        """The answers, if the page asks what is kept, or what may be run unasked; else None. Raises InputError."""
        if self._example is None or not self.session.engine.answers_unasked(settings.model):
            return None
        with self._lock:
            if self._settings is not None and not self._settings.changed(settings):
                return self.stored
            known = settings.digest == digest_of(self._example.image)
            if self._settings is not None or not known or settings.question.strip() != self._example.question.strip():
                return None
            asked = settings.model, opened, settings.question, settings.retention, settings.method
            with closing(self.session.compare(*asked, pairs_s=UNASKED_PAIRS_S)) as events:
                *_, self.stored = comparison_snapshots(events)
            self._settings = settings
            return self.stored
