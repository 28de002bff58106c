"""The right answers of the examples, told after a run."""

from __future__ import annotations

from .clip import Clip
from .examples import Example
from .session import digest_of


class RightAnswers:
    """Knows the examples by their picture's bytes and their question."""

    def __init__(self, examples: list[Example]) -> None:
        self._answers = {(digest_of(each.image), each.question): each.answer for each in examples if each.answer}

    def sentence(self, path: str | Clip | None, question: str) -> str:
        """The right answer, if this is one of the examples; else nothing."""
        answer = self._answers.get((digest_of(path or ""), question.strip()))
        return f" The right answer: **{answer}**." if answer else ""
