"""The table of runs, one row per run: each page lists its columns, and both the page and its PNG follow from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from vscan_core.report import SHARED

from .. import formatting
from ..ui.dataframe import Cell, dataframe_value
from ..ui.messages import KEPT_EARLIER, NO_WORDS
from .progress import BASELINE_METHOD, RunsSnapshot, RunState

STAGES_APART = ("vision_ms", "reduce_ms", "prefill_ms")
TOKEN_LEGEND = (
    "Bright: kept (orange frame: stands out in the whole picture, blue ring: in its neighbourhood). Dot: merged. "
    "Dark: dropped before the language model. Hatched: dropped inside it."
)
REPLACED_LEGEND = "Purple diamond: a kept place at which the model sees another token."  # of ApET
VISION_NOTE = f"The first token includes the vision encoder: {SHARED}, unless a method changes it."


class ColumnKind(Enum):
    """What a column holds."""

    TEXT = "text"
    ANSWER = "answer"  # text of several lines
    AGREEMENT = "agreement"
    NUMBER = "number"


@dataclass(frozen=True)
class Column:
    """One column; widths are in pixels, on the page and in the PNG (0: not in the PNG)."""

    title: str
    kind: ColumnKind
    width: int
    png_width: int
    value: Callable[[RunState], Any]  # a plain number or text, so that the column sorts
    shown: Callable[[RunState], str]
    png_title: str = ""  # if it is another

    def cell(self, run: RunState) -> Cell:
        """The cell of one run."""
        return self.value(run), self.shown(run)


@dataclass(frozen=True)
class RunsTable:
    """A table with these columns."""

    columns: Sequence[Column]

    @property
    def headers(self) -> list[str]:
        """Titles of the columns."""
        return [column.title for column in self.columns]

    @property
    def types(self) -> list[Literal["str", "number"]]:
        """Gradio's names for what the columns hold."""
        return ["number" if column.kind is ColumnKind.NUMBER else "str" for column in self.columns]

    @property
    def widths(self) -> list[str]:
        """CSS widths."""
        return [f"{column.width}px" for column in self.columns]

    def value(self, now: RunsSnapshot) -> dict[str, Any]:
        """A snapshot as a value of a Dataframe."""
        return dataframe_value(self.headers, [[column.cell(run) for column in self.columns] for run in now.runs])


def text_column(
    title: str, width: int, png_width: int, text: Callable[[RunState], str], kind: ColumnKind = ColumnKind.TEXT
) -> Column:
    """A column that sorts by what it shows."""
    return Column(title, kind, width, png_width, text, text)


def number_column(
    title: str,
    width: int,
    png_width: int,
    value: Callable[[RunState], float | None],
    written: Callable[[float], str],
    png_title: str = "",
) -> Column:
    """A column of numbers; a dash where there is none yet. `value` is called for runs that have ended."""

    def known(run: RunState) -> float | None:
        return value(run) if run.answer else None

    def shown(run: RunState) -> str:
        number = known(run)
        return formatting.NOTHING if number is None else written(number)

    return Column(title, ColumnKind.NUMBER, width, png_width, known, shown, png_title)


def answer_column(width: int, png_width: int) -> Column:
    """What the model answered, or why it could not run."""
    return text_column("Answer", width, png_width, shown_text, ColumnKind.ANSWER)


def agreement_column(width: int, png_width: int) -> Column:
    """Whether the answer is the baseline's."""
    return text_column("Agrees", width, png_width, agreement, ColumnKind.AGREEMENT)


def counts_column(width: int, png_width: int) -> Column:
    """Visual tokens from layer to layer; it sorts by those that enter the language model."""
    return Column(
        "Visual tokens", ColumnKind.NUMBER, width, png_width,
        lambda run: run.counts[0] if run.counts else None, lambda run: formatting.with_arrows(run.counts),
    )  # fmt: skip


def timing_column(title: str, key: str, width: int, png_width: int) -> Column:
    """A time of the run, in milliseconds; a dash for a stage of which a server does not tell."""
    return number_column(title, width, png_width, lambda run: _time(run, key), formatting.milliseconds)


def cost_column(
    title: str, key: str, width: int, png_width: int, written: Callable[[float], str], png_title: str = ""
) -> Column:
    """A cost of the run."""
    return number_column(title, width, png_width, lambda run: _part(run, "cost", key), written, png_title)


def ratio_column(title: str, key: str, width: int) -> Column:
    """How many times cheaper than the baseline; not in the PNG."""

    def written(times: float) -> str:
        return f"{formatting.ratio(times, 1)} {formatting.TIMES}"

    return number_column(title, width, 0, lambda run: run.ratios.get(key) if run.ratios else 1.0, written)


def shown_text(run: RunState) -> str:
    """The answer, why there is none, or a dash."""
    text = run.text_note if run.text_note and run.text else run.text
    return run.problem or text or (NO_WORDS if run.answer and not run.text_note else formatting.NOTHING)


def shown_title(run: RunState) -> str:
    """The name of a run, and whether it is of an earlier turn."""
    return f"{run.title}, {KEPT_EARLIER}" if run.kept else run.title


def agreement(run: RunState) -> str:
    """Whether the answer is the baseline's, in a word."""
    if run.agrees is not None:
        return "= yes" if run.agrees else "≠ no"
    return "reference" if run.method == BASELINE_METHOD and run.answer and not run.text_note else formatting.NOTHING


def caption(run: RunState) -> str:
    """The line under a small picture: fixed words and counts."""
    pieces = [run.title, formatting.with_arrows(run.counts)]
    if run.agrees is not None:
        pieces.append("same answer" if run.agrees else "different answer")
    return " · ".join(pieces)


def _time(run: RunState, key: str) -> float | None:
    known = run.answer is None or run.answer["timings"]["vision_ms"] > 0 or key not in STAGES_APART
    return _part(run, "timings", key) if known else None


def _part(run: RunState, part: str, key: str) -> float | None:
    value: float | None = run.answer[part][key] if run.answer else None
    return value
