"""DivPrune: keep the tokens that are farthest apart.

Source: DivPrune, arXiv 2503.02175, max-min diversity problem solved greedily: start with the token whose nearest
neighbour is farthest, then repeatedly add the token whose nearest kept token is farthest; distance is one minus the
cosine of the projected features.

But: no token is picked twice, even if several are identical; distances are a running minimum in float32; text and
separators are not included.

Where tokens are almost equal, near ties decide: on drawn pictures a relative noise of 1e-7 in the features changes 2 of
96 kept tokens on average, and up to 22, in one picture of five (`benchmarks/near_ties.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.reducers.single_cut import AtEntrance
from vscan_core.selection import Anatomy, Needs, Selection, Signals


@dataclass(frozen=True)
class DivPrune(AtEntrance):
    """Uses only the features: no attention, no CLS, no text."""

    title: ClassVar[str] = "DivPrune"
    summary: ClassVar[str] = "keep the tokens that are farthest apart"
    paper: ClassVar[str] = "DivPrune, arXiv 2503.02175"

    def needs(self, anatomy: Anatomy) -> Needs:
        """Projected features."""
        return Needs(projected=True)

    def select(self, signals: Signals, keep: int) -> Selection:
        """The greedy max-min set."""
        assert signals.projected is not None
        kept = farthest(signals.projected, keep).sort().values
        return Selection(kept=kept, labels={"diverse": kept})


def farthest(features: Tensor, keep: int) -> Tensor:
    """features (tokens, dim) -> (keep,) indices in the order in which they are picked.

    One (tokens, tokens) matrix, then one row of it per pick; never synchronises with the device.
    Unit vectors at 0, 10, 90, 180 degrees, keep 3 -> [3, 0, 2].
    """
    unit = torch.nn.functional.normalize(geometry.precise(features), dim=-1)
    distance = 1 - unit @ unit.T
    distance.fill_diagonal_(torch.inf)
    gap = distance.amin(1)  # to the nearest other token; later, to the nearest kept one
    picks = []
    for number in range(min(keep, len(features))):
        pick = gap.argmax(keepdim=True)
        row = distance.index_select(0, pick)[0]
        gap = (row if number == 0 else torch.minimum(gap, row)).index_fill(0, pick, -torch.inf)
        picks.append(pick)
    return torch.cat(picks)
