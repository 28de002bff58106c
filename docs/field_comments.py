"""The comment after a field of a dataclass is its description in the API reference."""

from __future__ import annotations

import io
import tokenize
from typing import Any

import griffe


def comment(line: str) -> str:
    """The comment at the end of a line of code; "" if there is none. `side: int = 6  # tokens` -> "tokens"."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(line.strip()).readline))
    except tokenize.TokenError:  # the line goes on
        return ""
    return next((token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT), "")


class FieldComments(griffe.Extension):
    """Give fields without a docstring the comment at the end of their line."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **kwargs: Any) -> None:
        """Called by griffe for every attribute that it finds."""
        if attr.docstring is None and attr.parent is not None and attr.parent.is_class and len(attr.lines) == 1:
            text = comment(attr.lines[0])
            if text:
                attr.docstring = griffe.Docstring(text[:1].upper() + text[1:], parent=attr)
