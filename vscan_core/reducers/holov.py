"""HoloV: share the budget among runs of neighbouring tokens, and keep in each what CLS attends to most.

Source: HoloV, arXiv 2510.02912: the projected tokens, row by row, are cut into runs of equal length. A token's score is
its attention from CLS plus .09 of its diversity, the variance of its cosines with the others of the run, scaled to the
attention; the budget is shared in proportion to the mean scores of the runs, and each keeps its most attended tokens.
Number of runs: 16 for 64 of 576 tokens, fewer the more are kept, as released for Qwen2.5-VL.

But:
- what exceeds a run's length goes, token by token, to the run whose share is largest for what it has (the released code
  loses it; released=True puts zeros in the place of these tokens);
- the released scale is made inside each run, so that diversity raises all mean scores alike and decides nothing; one
  scale for all runs (`common_scale=True`) lets it count;
- kept tokens stay in the order of the picture (in the released code, inside a run, the most attended come first);
- a run of a single token is scored like the others (in the released code it counts a thousandth);
- without a CLS token, scores are received attention.
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

DIVERSITY, LEAST = 0.09, 1e-6  # weight of diversity; what the released code adds to denominators
ATTENTION_SCALE = 1000  # of the released code; it makes the latter negligible


@dataclass(frozen=True)
class HoloV(AtEntrance):
    """Attention decides inside a run, and how much of the budget a run gets."""

    title: ClassVar[str] = "HoloV"
    summary: ClassVar[str] = (
        "share the budget among runs of neighbouring tokens, and keep in each what CLS attends to most"
    )
    paper: ClassVar[str] = "HoloV, arXiv 2510.02912"

    _: KW_ONLY
    runs: int | None = None  # at most one per token; None = 16 where a ninth is kept, fewer for more
    common_scale: bool = False  # one scale of diversity for all runs, instead of one for each
    released: bool = False  # zeros instead of the tokens that fill up the budget

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.runs is not None and self.runs < 1:
            raise InputError(f"runs must be at least 1, but is {self.runs}")

    def needs(self, anatomy: Anatomy) -> Needs:
        """Projected features, and CLS attention of the output layer."""
        return Needs(cls_attention=(anatomy.feature_layer,), projected=True)

    def select(self, signals: Signals, keep: int) -> Selection:
        """First the tokens that the runs are granted, then those that fill up the budget."""
        assert signals.projected is not None
        scores, tokens = signals.salience, signals.tokens
        count = max(1, 16 * tokens // (9 * keep)) if self.runs is None else self.runs
        runs = Runs(tokens, min(count, tokens))
        shares = self._shares(runs, signals.projected, scores)
        granted, share = runs.each_token(allotted(shares, keep)), runs.each_token(shares)
        rank = runs.join([geometry.top(part, tokens).argsort(dim=1) for part in runs.cut(scores)])  # inside its run
        first = rank < granted
        kept = geometry.top((share / (rank + 1)).masked_fill(first, torch.inf), keep).sort().values
        mix = None
        if self.released:
            mix = share.new_zeros(keep, tokens).scatter_(1, kept[:, None], first[kept][:, None].to(share.dtype))
        return Selection(kept=kept, labels={"diverse": kept}, scores={"global": scores}, mix=mix)

    def _shares(self, runs: Runs, features: Tensor, attention: Tensor) -> Tensor:
        """(runs,) the share of the budget that each run deserves; their sum is 1."""
        attention = ATTENTION_SCALE * attention
        diversity = runs.join([unlikeness(part) for part in runs.cut(features)])
        attended, diverse = runs.mean(attention), runs.mean(diversity)
        level, spread = (attention.mean(), diversity.mean()) if self.common_scale else (attended, diverse)
        scale = level / (spread + LEAST)
        worth = attended + DIVERSITY * diverse * scale
        return worth / (worth.sum() + LEAST)


class Runs:
    """`tokens` tokens cut into `count` runs of neighbours; the first runs may be one token longer than the others."""

    def __init__(self, tokens: int, count: int) -> None:
        self.size, self.longer = divmod(tokens, count)
        self.count = count

    def cut(self, values: Tensor) -> list[Tensor]:
        """(tokens, ...) -> the longer runs and the others, each (runs, length, ...); without the former if none is."""
        end = self.longer * (self.size + 1)
        parts = [values[:end].view(self.longer, self.size + 1, *values.shape[1:])] if self.longer else []
        return [*parts, values[end:].view(self.count - self.longer, self.size, *values.shape[1:])]

    def join(self, parts: list[Tensor]) -> Tensor:
        """What `cut` made -> (tokens,)."""
        return torch.cat([part.flatten() for part in parts])

    def mean(self, values: Tensor) -> Tensor:
        """(tokens,) -> (runs,)."""
        return torch.cat([part.mean(1) for part in self.cut(values)])

    def each_token(self, values: Tensor) -> Tensor:
        """(runs,) -> (tokens,), the value of the run that each token is in."""
        long, other = values[: self.longer], values[self.longer :]
        return torch.cat([long.repeat_interleave(self.size + 1), other.repeat_interleave(self.size)])


def unlikeness(features: Tensor) -> Tensor:
    """features (runs, length, dim) -> (runs, length): variance of the cosines of each token with the others of its run.

    As released, the token itself is among them, with cosine 0. A run of two: at right angles -> 0, 0; equal -> 1, 1.
    """
    unit = torch.nn.functional.normalize(geometry.precise(features), dim=-1)
    alike, others = unit @ unit.mT, max(features.shape[1] - 1, 1)
    alike.diagonal(dim1=1, dim2=2).zero_()
    mean = alike.sum(-1, keepdim=True) / others
    return (alike - mean).square().sum(-1) / others


def allotted(shares: Tensor, keep: int) -> Tensor:
    """(runs,) how many of `keep` tokens each run gets: whole parts, then one each for the largest of the shares.

    Shares .5, .3, .2 of 4 tokens are 2, 1.2, .8 -> 3, 1, 0.
    """
    whole = (shares * keep).floor()
    rank = shares.argsort(descending=True, stable=True).argsort()
    return whole + (rank < keep - whole.sum())
