"""HiPrune: keep what stands out halfway through the vision encoder, its neighbours, and what stands out at its end.

Source: HiPrune, arXiv 2508.00553; settings and layers as in the authors' code. Anchors: the tokens that receive most
attention in a middle layer, a fifth of the share `alpha` of the budget. Buffers: the four neighbours of each.
Registers, for the rest of the budget: of the others, those that receive most attention in the layer whose output the
LLM sees. Attention received is the mean over heads and all queries, that of CLS included.

But:
- neighbours outside the picture are left out; released=True goes on at the end of the row before or the start of the
  row after, and takes the picture's first token above its first row and its last one below the last row;
- anchors and buffers are excluded from the registers by a mask, not by subtracting 1, which is too little where the
  attention is a sum (then a token could be chosen twice, and fewer would be kept);
- if a small budget cannot hold all buffers, those of the best anchors come first (the released code fails);
- the middle layer is block 8 of CLIP's 24 and block 15 of Qwen2.5-VL's 32, as released, elsewhere at the same depth;
- in Qwen2.5-VL attention stays inside an image, as the model's own does (the released code for flash attention looks
  across images); of several tiles each is pruned alone.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.errors import InputError
from vscan_core.reducers.single_cut import AtEntrance
from vscan_core.selection import Anatomy, Needs, Selection, Signals

FOUR_SIDES = ((0, -1), (0, 1), (-1, 0), (1, 0))  # rows and columns from an anchor to its neighbours


@dataclass(frozen=True)
class HiPrune(AtEntrance):
    """HiPrune(retention=1/9) on 576 tokens: 1 anchor, its 4 neighbours and 59 registers."""

    title: ClassVar[str] = "HiPrune"
    summary: ClassVar[str] = (
        "keep what stands out halfway through the vision encoder, its neighbours, and what stands out at its end"
    )
    paper: ClassVar[str] = "HiPrune, arXiv 2508.00553"

    _: KW_ONLY
    alpha: float = 0.1  # share of the budget that goes to anchors and their neighbours
    middle_layer: int | None = None  # vision layer of the anchors, 0-based; None = the family's
    released: bool = False  # neighbours beyond the edge of the picture as in the released code

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha must lie between 0 and 1, but is {self.alpha}")

    def needs(self, anatomy: Anatomy) -> Needs:
        """Attention received in the middle layer and in the output layer."""
        middle, last = self.middle_layer, anatomy.feature_layer
        if middle is None:
            middle = anatomy.vision_layers // 3 if anatomy.middle_layer is None else anatomy.middle_layer
        if not 0 <= middle <= last:
            raise InputError(f"middle_layer must lie between 0 and {last}, the output layer, but is {middle}")
        layers = tuple(sorted({middle, last}))
        # without CLS both names mean the same signal, which is recorded once if methods are compared
        return Needs(received=layers) if anatomy.has_cls else Needs(cls_attention=layers)

    def select(self, signals: Signals, keep: int) -> Selection:
        """Anchors and buffers by the shallowest layer recorded in `signals`, registers by the deepest."""
        assert signals.received and signals.grid is not None
        middle, deep = (geometry.precise(signals.received[pick(signals.received)]) for pick in (min, max))
        anchors = geometry.top(middle, round(keep * self.alpha / 5))
        near = with_neighbours(anchors, signals.grid, keep, self.released)
        rest = geometry.top(deep.index_fill(0, near, -torch.inf), keep - len(near)).sort().values
        labels = {"near": near, "global": rest}
        scores = {"middle": middle, "global": deep}
        return Selection(kept=torch.cat([near, rest]).sort().values, labels=labels, scores=scores)


def with_neighbours(anchors: Tensor, grid: tuple[int, int], most: int, wrap: bool = False) -> Tensor:
    """(near,) the anchors (anchors,) and their neighbours, ascending; if these are above `most`, the first ones.

    First come the anchors, then the neighbours of the first of them: left, right, above, below.
    wrap: those that would lie outside the grid (rows, cols) are the nearest index before or after instead.
    Grid 2 x 3, anchor 3 -> [0, 3, 4]; wrapped [0, 2, 3, 4, 5]. One synchronisation: how many there are.
    """
    rows, cols = grid
    tokens = rows * cols
    beside = []
    for down, right in FOUR_SIDES:
        row, col = anchors // cols + down, anchors % cols + right
        inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
        moved = anchors + down * cols + right
        beside.append(moved.clamp(0, tokens - 1) if wrap else moved.where(inside, anchors))
    ordered = torch.cat([anchors, torch.stack(beside, dim=1).flatten()])
    order = torch.arange(len(ordered), device=anchors.device)
    first = order.new_full((tokens,), len(ordered)).scatter_reduce_(0, ordered, order, "amin")
    near = (first < len(ordered)).nonzero()[:, 0]
    return near if len(near) <= most else first.argsort(stable=True)[:most].sort().values
