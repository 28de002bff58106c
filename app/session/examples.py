"""The example gallery: pictures with a question each, from assets/examples."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from vscan_core.resources import asset

from .sources import digest_of

FOLDER = asset("examples")


@dataclass(frozen=True)
class Example:
    """A picture file, a question about it, and what is known of it."""

    image: str
    question: str
    answer: str = ""  # the right one
    retention: float | None = None  # at which it shows something; None: any
    note: str = ""  # what it shows, measured, in a sentence


def load_examples(folder: Path = FOLDER) -> list[Example]:
    """The examples in the order of examples.json; entries without a picture file are left out."""
    try:
        entries = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    found = [
        Example(
            str(folder / entry["image"]),
            str(entry["question"]),
            str(entry.get("answer", "")),
            entry.get("retention"),
            str(entry.get("note", "")),
        )
        for entry in entries
    ]
    return [example for example in found if Path(example.image).is_file()]


class RightAnswers:
    """What is known of the examples, shown after a run; found by a hash of the picture, and the question."""

    def __init__(self, examples: list[Example]) -> None:
        self._known = {(digest_of(each.image), each.question): each for each in examples if each.answer}

    def sentence(self, digest: str, question: str) -> str:
        """The right answer, and what the example shows, if this is one; else nothing."""
        example = self._known.get((digest, question.strip()))
        return f"The right answer: **{example.answer}**. {example.note}".strip() if example else ""
