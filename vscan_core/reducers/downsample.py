"""Downsample: average the tokens over equal areas of the picture, as if it had been smaller.

Source: none; a baseline equivalent to a smaller picture, at token level: area interpolation of the projected features.
The picture is divided into equal horizontal strips, and each strip into equal pieces, one per token of the budget; a
token on a border counts in each piece in proportion to the area that lies there.

But: a budget that is not a product of rows and columns is divided among the strips as evenly as possible, so that
strips may differ by one piece; otherwise this is ordinary area interpolation to that grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vscan_core.reducers.grid import divide_budget, lattice
from vscan_core.reducers.single_cut import AtEntrance
from vscan_core.selection import Anatomy, Needs, Selection, Signals


@dataclass(frozen=True)
class Downsample(AtEntrance):
    """Each piece takes the place of the token in its middle, the one that `Grid` would keep."""

    title: ClassVar[str] = "Downsample"
    summary: ClassVar[str] = "average the tokens over equal areas of the picture, as if it had been smaller"
    paper: ClassVar[str] = ""

    def needs(self, anatomy: Anatomy) -> Needs:
        """Projected features: they are what is averaged."""
        return Needs(projected=True)

    def select(self, signals: Signals, keep: int) -> Selection:
        """The mean of each piece; signals without a grid count as one row."""
        grid = signals.grid or (1, signals.tokens)
        kept, mix = lattice(*grid, keep).to(signals.device), areas(*grid, keep).to(signals.device)
        merged_into = kept[mix.argmax(0)].index_fill(0, kept, -1)  # the piece that takes most of a token
        return Selection(kept=kept, labels={"grid": kept}, merged_into=merged_into, mix=mix)


def areas(rows: int, cols: int, keep: int) -> Tensor:
    """(keep, rows * cols) the share of each token in each piece; rows sum to one.

    A 1 x 3 grid, keep 2 -> [[2/3, 1/3, 0], [0, 1/3, 2/3]].
    """
    line, place, counts = divide_budget(rows, cols, keep)
    down = _overlap(line, torch.full_like(line, len(counts)), rows)
    across = _overlap(place, counts[line], cols)
    return (down[:, :, None] * across[:, None, :]).flatten(1)


def _overlap(piece: Tensor, pieces: Tensor, length: int) -> Tensor:
    """(pieces, length) how much of each token lies in piece `piece` of `pieces` equal ones; rows sum to one."""
    start, end = piece * length, (piece + 1) * length  # in units of 1 / pieces of a token
    first = torch.arange(length) * pieces[:, None]
    shared = torch.minimum(end[:, None], first + pieces[:, None]) - torch.maximum(start[:, None], first)
    return shared.clamp(min=0) / length
