"""What a page or a program may ask for, each kind of value checked in one place."""

from __future__ import annotations

import unicodedata
from typing import Any

from vscan_core.budget import check_retention
from vscan_core.errors import InputError

EMPTY = "The question is empty: please ask a question about the picture."
LENGTH = "The length limit of an answer is a whole number of tokens from 1 to {most}, but is {value}."
SHARE = "retention must be above 0 and at most 1 (such as 0.111 for 11.1 %), but is {value}"
BLANKS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and a symbol by their category, but nothing is drawn for them
LONGEST_QUOTED = 40  # characters of a bad value that are repeated


def check_visible(question: str) -> str:
    """The question. Raises InputError if it holds nothing but spaces, control and zero-width characters."""
    if not any(unicodedata.category(one)[0] in "LNPS" and one not in BLANKS for one in question):
        raise InputError(EMPTY)
    return question


def check_length(value: Any, most: int) -> int:
    """A length limit in tokens. Raises InputError unless `value` is a whole number from 1 to `most`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or value != value or not 1 <= value <= most or value != int(value):
        raise InputError(LENGTH.format(most=most, value=_quoted(value)))
    return int(value)


def check_share(value: Any) -> float:
    """A retention. Raises InputError unless it is a number above 0 and at most 1."""
    try:
        return check_retention(value)
    except InputError:
        raise InputError(SHARE.format(value=_quoted(value))) from None


def _quoted(value: Any) -> str:
    """A value as a visitor sent it, at most so long that a sentence stays one."""
    text = repr(value) if isinstance(value, int | float | str | None) else type(value).__name__
    return text if len(text) <= LONGEST_QUOTED else f"{text[:LONGEST_QUOTED]}…"
