"""Cascade: answer from few visual tokens, and again from all of them if that answer is unsure.

Source: our own; cascades of language models (FrugalGPT, arXiv 2305.05176) defer in the same way. The first reading
keeps `retention` of the tokens at the entrance of the LLM, chosen and merged as by VScan's two scans. An answer is
unsure if, at one of its tokens, the best choice leads the second by less than `margin` in log-probability: then the
question is read again with all visual tokens, and that answer counts. What both readings cost is added.

The default settings keep a promise on the embedded model: the answer is that of all tokens in at least 95 % of cases
(`benchmarks/promise.py` chooses them on some pictures and tests them on others; docs/findings.md has the figures).
Another model needs a margin of its own. Long answers are nearly always unsure somewhere: this is for short ones.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import ClassVar

from vscan_core.errors import InputError
from vscan_core.reducers.single_cut import AtEntrance
from vscan_core.reducers.vscan import VScan
from vscan_core.selection import Anatomy, Needs, Selection, Signals


@dataclass(frozen=True)
class Cascade(AtEntrance):
    """Two readings at most. `retention` is that of the first; what a run spends depends on how sure it was."""

    title: ClassVar[str] = "Cascade"
    summary: ClassVar[str] = "answer from few visual tokens, and again from all of them if that answer is unsure"
    paper: ClassVar[str] = ""

    retention: float = 1 / 18
    _: KW_ONLY
    margin: float = 0.5  # nats; 0: never read again

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.margin < 0:
            raise InputError(f"margin must be 0 or more, but is {self.margin}")

    @property
    def unsure_below(self) -> float | None:
        """`margin`, where the first reading leaves something out."""
        return self.margin if self.margin and self.retention < 1 else None

    @property
    def first_reading(self) -> Cascade:
        """The same, never read again."""
        return replace(self, margin=0.0)

    @cached_property
    def scans(self) -> VScan:
        """Which tokens the first reading keeps."""
        return VScan(self.retention).without_later_cuts()

    def needs(self, anatomy: Anatomy) -> Needs:
        """As VScan."""
        return self.scans.needs(anatomy)

    def select(self, signals: Signals, keep: int) -> Selection:
        """As VScan."""
        return self.scans.select(signals, keep)

    def select_tiles(self, tiles: Signals, keep: int) -> list[Selection]:
        """As VScan."""
        return self.scans.select_tiles(tiles, keep)
