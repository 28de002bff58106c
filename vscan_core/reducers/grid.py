"""Grid: keep tokens spread evenly over the picture, whatever it shows.

Source: none; a baseline equivalent to sampling the picture more coarsely.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vscan_core.reducers.single_cut import AtEntrance
from vscan_core.selection import Selection, Signals


@dataclass(frozen=True)
class Grid(AtEntrance):
    """Evenly spaced rows, and evenly spaced tokens in each of them."""

    title: ClassVar[str] = "Grid"
    summary: ClassVar[str] = "keep tokens spread evenly over the picture, whatever it shows"
    paper: ClassVar[str] = ""

    def select(self, signals: Signals, keep: int) -> Selection:
        """Evenly spaced tokens; signals without a grid count as one row."""
        kept = lattice(*(signals.grid or (1, signals.tokens)), keep).to(signals.device)
        return Selection(kept=kept, labels={"grid": kept})


def lattice(rows: int, cols: int, keep: int) -> Tensor:
    """(keep,) ascending indices of `keep` places in a rows x cols grid, about equally far apart in both directions.

    The number of rows makes the spacing about square; tokens are divided among rows as evenly as possible.
    A 4 x 4 grid, keep 4 -> [5, 7, 13, 15].
    """
    line, place, counts = divide_budget(rows, cols, keep)
    # the middle of each equal strip, and of each of `counts` equal pieces of a strip
    row, col = _middle(line, torch.tensor(len(counts)), rows), _middle(place, counts[line], cols)
    return row * cols + col


def divide_budget(rows: int, cols: int, keep: int) -> tuple[Tensor, Tensor, Tensor]:
    """(keep,) horizontal strip of each kept token, (keep,) its place in the strip, (strips,) tokens in each strip."""
    lines = min(max(round((keep * rows / cols) ** 0.5), -(-keep // cols)), rows, keep)
    ends = torch.arange(1, lines + 1) * keep // lines
    counts = ends.diff(prepend=torch.zeros(1, dtype=torch.long))
    line = torch.arange(lines).repeat_interleave(counts)
    return line, torch.arange(keep) - (ends - counts)[line], counts


def _middle(piece: Tensor, pieces: Tensor, length: int) -> Tensor:
    return (2 * piece + 1) * length // (2 * pieces)
