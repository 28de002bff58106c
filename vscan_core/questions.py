"""What a question may be."""

from __future__ import annotations

from typing import Any

from vscan_core.errors import InputError

MAX_QUESTION_CHARACTERS = 1000


def check_question(question: str, processor: Any) -> str:
    """The question, stripped. Raises InputError if it is empty, too long or holds control tokens."""
    text = question.strip()
    if not text:
        raise InputError("The question is empty: type what you want to know about the picture.")
    if len(text) > MAX_QUESTION_CHARACTERS:
        raise InputError(
            f"The question has {len(text)} characters; at most {MAX_QUESTION_CHARACTERS} are allowed, so shorten it."
        )
    named = {getattr(processor, name, None) for name in ("image_token", "video_token")}
    control = {*processor.tokenizer.all_special_tokens, *named, "<image>", "<video>"}
    found = sorted(token for token in control if token and token in text)
    if found:
        raise InputError(f"The question must not contain the control token {found[0]}: ask in plain words.")
    return text
