"""Values of Gradio's Dataframe whose columns sort by plain numbers and are shown as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Cell = tuple[Any, str]  # what it sorts by, what is shown


def dataframe_value(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> dict[str, Any]:
    """Headers and rows of cells as a value of a Dataframe."""
    return {
        "headers": list(headers),
        "data": [[value for value, _ in cells] for cells in rows],
        "metadata": {"display_value": [[shown for _, shown in cells] for cells in rows]},
    }


def text_cell(text: str) -> Cell:
    """A cell that sorts by its text."""
    return text, text
