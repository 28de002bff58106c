"""Sentences about files that are too much work, shared by all that read pictures and videos."""

from __future__ import annotations

_REMEDY = {
    "picture": "please save it again as a plain JPEG or PNG",
    "video": "please make it shorter or its frames smaller",
}


def too_slow(kind: str) -> str:
    """One sentence; `kind` is "picture" or "video"."""
    return f"This {kind} takes too long to read; {_REMEDY[kind]}."


def too_much_memory(kind: str) -> str:
    """One sentence; `kind` is "picture" or "video"."""
    return f"This {kind} needs too much memory to read; {_REMEDY[kind]}."


def unreadable(kind: str) -> str:
    """One sentence about a file on which the decoder itself gave up; `kind` is "picture" or "video"."""
    return f"This {kind} cannot be read here; {_REMEDY[kind]}."
