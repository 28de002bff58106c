"""The embedded model, which writes slowly if it is asked to, and leaves a note when a run has ended."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from app.session.engine import Engine
from vscan_core.events import Done, Event, Prefilled, Token

SLOWLY = "Slowly, please: "
WORDS, PAUSE_S = 100, 0.1


class Unhurried(Engine):
    """Questions that begin with SLOWLY take ten seconds per answer."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes

    def inputs(self, lvlm: Any, image: Any, question: str) -> Any:
        found = super().inputs(lvlm, image, question)
        found.slowly = question.startswith(SLOWLY)
        return found

    def run(self, lvlm: Any, inputs: Any, encoding: Any, reducer: Any, limit: int) -> Generator[Event, None, None]:
        slowly = getattr(inputs, "slowly", False)
        note = self.notes / f"{os.getpid()}-{time.monotonic_ns()}"
        try:
            for event in super().run(lvlm, inputs, encoding, reducer, limit):
                if isinstance(event, Prefilled) and slowly:
                    yield event
                    for word in range(WORDS):
                        time.sleep(PAUSE_S)
                        yield Token(0, "word " * (word + 1))
                elif isinstance(event, Done) or not slowly:
                    yield event
        finally:
            note.touch()
