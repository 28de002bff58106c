"""VisPruner: keep the tokens that CLS attends to most, and of the others those least like each other.

Source: VisPruner, arXiv 2412.01818v3, section 3 (important and diverse tokens); drop width 8 as in the released code.
Important: the best by the CLS row of the output layer. Diverse: the others, best first, are split by even and odd
rank; of the even half, the tokens most similar to any of the odd half are dropped, a few at a time, and the rest is
split again. No tokens are merged.

But:
- a pass drops at most as many tokens as the even half holds, and of an odd number the even half takes one more, so that
  every budget works (the released loop fails on odd numbers and small budgets; otherwise the tokens are the same);
- on more than the 576 tokens of the paper's models the drop width grows with the number of tokens, so that the
  number of passes does not grow;
- the projector receives only the kept tokens; without a CLS token, scores are received attention; if several patches
  make one token, features are those after the projector.

Beware of near ties: one exchange of two neighbours in the ranking changes what every later pass compares. On drawn
pictures a relative noise of 1e-7 in the signals changes 22 of 96 kept tokens on average, and up to 41; compare choices
on equal signals only (`benchmarks/near_ties.py`).
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

DROPPED_PER_PASS, PUBLISHED_TOKENS = 8, 576


@dataclass(frozen=True)
class VisPruner(AtEntrance):
    """`important_share` of the budget is chosen by attention, the rest by dissimilarity."""

    title: ClassVar[str] = "VisPruner"
    summary: ClassVar[str] = "keep the tokens that CLS attends to most, and of the others those least like each other"
    paper: ClassVar[str] = "VisPruner, arXiv 2412.01818v3"

    _: KW_ONLY
    important_share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.important_share <= 1:
            raise InputError(f"important_share must lie between 0 and 1, but is {self.important_share}")

    def needs(self, anatomy: Anatomy) -> Needs:
        """CLS attention of the output layer."""
        return Needs(cls_attention=(anatomy.feature_layer,))

    def select(self, signals: Signals, keep: int) -> Selection:
        """First the important ones, then the diverse ones among the rest."""
        features = signals.projected if signals.features is None else signals.features
        assert features is not None
        scores = signals.salience
        ranked = geometry.top(scores, signals.tokens)
        important = int(keep * self.important_share)
        first, rest = ranked[:important], distinct(features, ranked[important:], keep - important)
        kept = torch.cat([first, rest]).sort().values
        labels = {"global": first.sort().values, "diverse": rest.sort().values}
        return Selection(kept=kept, labels=labels, scores={"global": scores})


def distinct(features: Tensor, ranked: Tensor, keep: int) -> Tensor:
    """Reduce `ranked` (candidates,), best first, to (keep,) indices of tokens that are dissimilar.

    features (tokens, dim). The number of passes depends only on counts, so there is no synchronisation.
    """
    if keep == 0:
        return ranked[:0]
    unit = torch.nn.functional.normalize(geometry.precise(features), dim=-1)
    alike = unit @ unit.T  # (tokens, tokens), once for all passes
    width = max(DROPPED_PER_PASS, DROPPED_PER_PASS * len(features) // PUBLISHED_TOKENS)
    while len(ranked) > keep:
        even, odd = ranked[0::2], ranked[1::2]
        drop = min(width, len(ranked) - keep, len(even))
        nearest = alike[even[:, None], odd[None, :]].amax(1)
        ranked = torch.cat([even[geometry.top(nearest, len(even))[drop:]], odd])
    return ranked
