"""PruMerge: keep the outliers of CLS attention and evenly spaced tokens, and merge similar ones into them.

Source: LLaVA-PruMerge, arXiv 2403.15388, section 3: outliers of the CLS attention by Tukey's rule; "+" adds tokens
spread evenly over the picture; each kept token becomes the average, weighted by attention, of itself and of the
dropped tokens with the most similar keys (32 in the released code), before the projector.

But:
- the number of tokens follows from the retention, not from the number of outliers: best outliers first, then evenly
  spread tokens (`plus=False`: all by attention);
- attention and keys are those of the output layer, heads averaged (the released code reads the next layer, with
  heads concatenated);
- released=True: kept tokens count as neighbours too, weights are not normalised, the token itself has weight 1, and one
  token of the budget is the weighted sum of all dropped ones, here at the place of the last of them.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vscan_core import geometry
from vscan_core.errors import InputError
from vscan_core.reducers.single_cut import AtEntrance
from vscan_core.selection import Anatomy, Needs, Selection, Signals


@dataclass(frozen=True)
class PruMerge(AtEntrance):
    """PruMerge+ by default; `plus=False` is PruMerge."""

    title: ClassVar[str] = "PruMerge"
    summary: ClassVar[str] = (
        "keep the outliers of CLS attention and evenly spaced tokens, and merge similar ones into them"
    )
    paper: ClassVar[str] = "LLaVA-PruMerge, arXiv 2403.15388"

    _: KW_ONLY
    plus: bool = True
    neighbours: int = 32
    released: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours < 0:
            raise InputError(f"neighbours must be at least 0 tokens, but is {self.neighbours}")

    def needs(self, anatomy: Anatomy) -> Needs:
        """CLS attention and keys of the output layer."""
        return Needs(cls_attention=(anatomy.feature_layer,), keys=True)

    def select(self, signals: Signals, keep: int) -> Selection:
        """Choose the tokens, then the weights of their neighbours."""
        assert signals.keys is not None
        scores = signals.salience
        if keep >= len(scores):
            return Selection(kept=geometry.top(scores, keep).sort().values, scores={"global": scores})
        chosen = keep - 1 if self.released else keep
        best = standing_out(scores, chosen) if self.plus else geometry.top(scores, chosen).sort().values
        mix = self._neighbourhoods(signals.keys, scores, best)
        if not self.released:
            return Selection(kept=best, labels={"global": best}, scores={"global": scores}, mix=mix)
        dropped = torch.ones_like(scores).index_fill(0, best, 0)
        rest = len(scores) - 1 - dropped.flip(0).argmax(keepdim=True)
        kept, order = torch.cat([best, rest]).sort()
        mix = torch.cat([mix, (dropped * scores)[None]])[order]
        merged_into = rest.expand(len(scores)).index_fill(0, kept, -1)
        labels = {"global": best, "rest": rest}
        return Selection(kept=kept, labels=labels, merged_into=merged_into, scores={"global": scores}, mix=mix)

    def _neighbourhoods(self, keys: Tensor, scores: Tensor, best: Tensor) -> Tensor:
        """(best, tokens): the weight of every token in each of `best`."""
        unit = normalize(geometry.precise(keys), dim=-1)
        alike = unit[best] @ unit.T
        own = best[:, None]
        # neighbours are dropped tokens; in the released code, all but the token itself
        alike = alike.scatter(1, own, -torch.inf) if self.released else alike.index_fill(1, best, -torch.inf)
        lenders = len(scores) - (1 if self.released else len(best))
        nearest = geometry.top(alike, min(self.neighbours, lenders))
        mix = torch.zeros_like(alike).scatter(1, nearest, scores[nearest])
        if self.released:
            return mix.scatter(1, own, 1.0)
        mix = mix.scatter(1, own, scores[own])
        return mix / mix.sum(1, keepdim=True).clamp(min=torch.finfo(mix.dtype).tiny)


def standing_out(scores: Tensor, keep: int) -> Tensor:
    """(keep,) ascending: outliers of scores (tokens,), at most `keep`, then others at even steps through the picture.

    Counts that depend on the scores stay on the device, so there is no synchronisation.
    """
    best = geometry.top(scores, keep)
    taken = torch.zeros_like(scores, dtype=torch.long).index_put((best,), geometry.outliers(scores)[best].long())
    free = 1 - taken
    fill, left = keep - taken.sum(), free.sum()
    before = (free.cumsum(0) - free) * fill + left // 2  # evenly: a step whenever this passes a multiple of `left`
    step = ((before + fill) // left > before // left) & free.bool()
    return geometry.top(taken + step, keep).sort().values
