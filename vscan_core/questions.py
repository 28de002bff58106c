"""What a question may be, and how questions and answers become the messages of a chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vscan_core.errors import InputError

MAX_QUESTION_CHARACTERS = 1000
History = Sequence[tuple[str, str]]  # earlier questions about the same picture, each with its answer


def check_question(question: str, processor: Any) -> str:
    """The question, stripped. Raises InputError if it is empty, too long or holds control tokens."""
    text = question.strip()
    if not text:
        raise InputError("The question is empty: type what you want to know about the picture.")
    if len(text) > MAX_QUESTION_CHARACTERS:
        raise InputError(
            f"The question has {len(text)} characters; at most {MAX_QUESTION_CHARACTERS} are allowed, so shorten it."
        )
    if found := _control_tokens(text, processor):
        raise InputError(f"The question must not contain the control token {found[0]}: ask in plain words.")
    return text


def check_history(history: History, processor: Any) -> History:
    """Earlier questions, stripped, with their answers. Raises InputError as `check_question`, also for an answer."""
    for _, answer in history:
        if found := _control_tokens(answer, processor):
            raise InputError(
                f"An earlier answer contains the control token {found[0]}, so the model would misread it; start a new "
                "conversation."
            )
    return [(check_question(question, processor), answer) for question, answer in history]


def messages(question: str, shown: Sequence[str], history: History) -> list[dict[str, Any]]:
    """The turns of a conversation, as chat templates take them; what is shown ("image", "video") comes first."""
    texts = [*(text for turn in history for text in turn), question]
    roles = ["assistant" if place % 2 else "user" for place in range(len(texts))]
    first, *others = [[{"type": "text", "text": text}] for text in texts]
    contents = [[*({"type": kind} for kind in shown), *first], *others]
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]


def _control_tokens(text: str, processor: Any) -> list[str]:
    named = {getattr(processor, name, None) for name in ("image_token", "video_token")}
    control = {*processor.tokenizer.all_special_tokens, *named, "<image>", "<video>"}
    return sorted(token for token in control if token and token in text)
