"""The right answers of the examples, shown after a run."""

from __future__ import annotations

from .examples import Example
from .sources import digest_of


class RightAnswers:
    """Knows the examples by a hash of their picture and their question."""

    def __init__(self, examples: list[Example]) -> None:
        self._answers = {(digest_of(each.image), each.question): each.answer for each in examples if each.answer}

    def sentence(self, digest: str, question: str) -> str:
        """The right answer, if this is one of the examples; else nothing."""
        answer = self._answers.get((digest, question.strip()))
        return f" The right answer: **{answer}**." if answer else ""
