"""The example gallery: pictures with a question each, from assets/examples."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from vscan_core.resources import asset

FOLDER = asset("examples")


@dataclass(frozen=True)
class Example:
    """A picture file, a question about it, and the right answer if it is known."""

    image: str
    question: str
    answer: str = ""


def load_examples(folder: Path = FOLDER) -> list[Example]:
    """The examples in the order of examples.json; entries without a picture file are left out."""
    try:
        entries = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    found = [
        Example(str(folder / entry["image"]), str(entry["question"]), str(entry.get("answer", ""))) for entry in entries
    ]
    return [example for example in found if Path(example.image).is_file()]
