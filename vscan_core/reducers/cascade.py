"""Cascade: answer from few visual tokens, and again from all of them if that answer is unsure.

Our own; cascades of language models (FrugalGPT, arXiv 2305.05176) defer in the same way. The first reading keeps
`retention` of the tokens at the entrance of the LLM, chosen and merged as by VScan's two scans. An answer is unsure if,
at one of its tokens, the best choice leads the second by less than `margin` in log-probability: then the question is
read again with all visual tokens, and that answer counts. Tokens, times and FLOPs of both readings are added.

The default settings keep a promise on the embedded model: the answer is that of all tokens in at least 95 % of cases
(`benchmarks/promise.py` chooses them on some pictures and tests them on others; docs/findings.md has the figures).
Another model needs a margin of its own. Long answers are nearly always unsure somewhere: this is for short ones.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import ClassVar

from vscan_core.errors import InputError
from vscan_core.reducers.base import Reducer
from vscan_core.reducers.vscan import VScan
from vscan_core.selection import Anatomy, Needs, Selection, Signals


@dataclass(frozen=True)
class Cascade(Reducer):
    """Two readings at most. `retention` is that of the first; what a run spends depends on how sure it was."""

    title: ClassVar[str] = "Cascade"
    summary: ClassVar[str] = "answer from few tokens, and again from all of them where that answer is unsure"
    paper: ClassVar[str] = ""

    retention: float = 1 / 24
    _: KW_ONLY
    margin: float = 0.55  # nats; 0: never read again

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.margin < 0:
            raise InputError(f"margin must be 0 or more, but is {self.margin}")

    @cached_property
    def first_reading(self) -> VScan:
        """The two scans alone."""
        return VScan(self.retention, positions=self.positions).without_later_cuts()

    @property
    def unsure_below(self) -> float | None:
        """`margin`, where the first reading leaves something out."""
        return self.margin if self.retention < 1 else None

    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """That of the first reading."""
        return self.first_reading.schedule(tokens, anatomy, tiles)

    def needs(self, anatomy: Anatomy) -> Needs:
        """As the first reading."""
        return self.first_reading.needs(anatomy)

    def select(self, signals: Signals, keep: int) -> Selection:
        """The choice of the first reading."""
        return self.first_reading.select(signals, keep)

    def select_tiles(self, tiles: Signals, keep: int) -> list[Selection]:
        """The choice of the first reading."""
        return self.first_reading.select_tiles(tiles, keep)
