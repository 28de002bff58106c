"""What a visitor asks for, as the query of the page's address: read and checked, since anybody can write a link."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..session.examples import Example
from ..session.session import Session
from .inputs import MAX_QUESTION

ADDRESS_KEYS = ("model", "picture", "question", "keep", "method", "methods")  # keep: the retention in percent
NOTHING_THERE = "This link asks for something that is not here ({names}); the rest of it was opened."


def from_address(
    query: Mapping[str, str], session: Session, examples: Sequence[Example]
) -> tuple[dict[str, Any], list[str]]:
    """Values for widgets by key, and the keys whose values cannot be used. Other parameters are not ours.

    Only the first 64 methods count; a picture is an example, by the name of its file.
    """
    readers: dict[str, Callable[[str], Any]] = {
        "model": lambda text: text if text in session.engine.models() else None,
        "picture": lambda text: {name_of(each): each.image for each in examples}.get(text),
        "question": question_from,
        "keep": percent_from,
        "method": lambda text: text if text in session.engine.methods() else None,
        "methods": lambda text: methods_from(text, session),
    }
    values = {key: readers[key](query[key]) for key in ADDRESS_KEYS if key in query}
    found = {key: value for key, value in values.items() if value is not None}
    return found, [key for key in values if key not in found]


def name_of(example: Example) -> str:
    """The name of an example in an address."""
    return Path(example.image).stem


def question_from(text: str) -> str | None:
    """One printable line of a length that the page takes, or None."""
    text = text.strip()
    return text if text and len(text) <= MAX_QUESTION and text.isprintable() else None


def percent_from(text: str) -> float | None:
    """A position of the slider, or None."""
    try:
        percent = round(float(text), 1)
    except (ValueError, OverflowError):
        return None
    return percent if 1 <= percent <= 100 else None


def methods_from(text: str, session: Session) -> list[str] | None:
    """Names with commas between them, or None."""
    names = text.split(",")[:64]
    return list(dict.fromkeys(names)) if all(name in session.engine.methods() for name in names) else None
