"""ApET: keep the tokens that a few others cannot reproduce, and let these few take the places of the last ones.

Source: ApET, arXiv 2602.19870, approximation-error guided compression; order of operations and settings as in the
authors' code for LLaVA. Ten basis tokens are sampled, each as far as possible from those before it. Every token is
approximated by a linear combination of them, and those with the largest error are kept. Of these, the ten of the
smallest error become the basis tokens themselves, at foreign places in the picture; every token that is not kept is
averaged into the most similar of the others. Twice: before the projector, and at the middle layer of the LLM on the
hidden states. No attention is read.

But:
- the first basis token is the first of the picture (the released code draws it anew in every run: `start`);
- a budget of ten or fewer keeps one token of its own and fewer basis tokens (the released code fails), and the
  approximation is no worse for it;
- basis tokens have no error at all, and if they are kept as well, the first ones come first (there, rounding decides);
- the means are computed in float32; if several patches make one token, features are those after the projector;
- budgets follow VScan's rule, 96 and then 32 of 576 tokens for 1/9, as published; `share=1.0` and `own_share=0.5` are
  the released code for Qwen2.5-VL, which cuts at the entrance alone.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.budget import check_layer, one_cut, two_stage, without_idle_cuts
from vscan_core.errors import InputError
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy, Selection, Signals

RIDGE = 1e-5  # added to the squared lengths of the basis tokens


@dataclass(frozen=True)
class ApET(Reducer):
    """ApET(retention=1/9) on 576 tokens and 32 layers: 96 into layers 0-15, 32 into layers 16-31, 64 on average.

    Tokens that are kept as themselves are labelled "informative". The label "basis" names places at which the LLM sees
    a basis token: one from elsewhere in the picture, unless all but a few tokens are kept. Their own token is gone.
    """

    title: ClassVar[str] = "ApET"
    summary: ClassVar[str] = (
        "keep the tokens that a few others cannot reproduce, and let these few take the places of the last ones"
    )
    paper: ClassVar[str] = "ApET, arXiv 2602.19870"

    _: KW_ONLY
    basis: int = 10  # tokens
    start: int = 0  # the first basis token; the last of the picture if it has fewer
    own_share: float = 0.0  # of its own token in what is seen at the place of a basis token
    layer: int | None = None  # decoder layer of the later cut; None = the middle one
    share: float = 1 / 3  # of the tokens of the entrance that the later cut keeps; 1 = there is none

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.basis < 1:
            raise InputError(f"basis must be at least 1 token, but is {self.basis}")
        if self.start < 0:
            raise InputError(f"start counts tokens from 0, but is {self.start}")
        if not 0 <= self.own_share <= 1:
            raise InputError(f"own_share must lie between 0 and 1, but is {self.own_share}")
        if not 0 < self.share <= 1:
            raise InputError(f"share must be above 0 and at most 1, but is {self.share}")

    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """Two cuts, or one if `share` is 1."""
        layers = anatomy.text_layers
        if self.share == 1:
            return without_idle_cuts({0: one_cut(self.retention, tokens, layers)}, tokens, tiles)
        later = layers // 2 if self.layer is None else self.layer
        check_layer(later, layers, "layer")
        first, _ = two_stage(self.retention, tokens, layers, later, self.share)
        _, second = two_stage(self.retention, tokens * tiles, layers, later, self.share)
        return without_idle_cuts({0: first, later: min(second, first * tiles)}, tokens, tiles)

    def without_later_cuts(self) -> ApET:
        """As in the released code for Qwen2.5-VL."""
        return replace(self, share=1.0)

    @property
    def needs_in_llm(self) -> frozenset[str]:
        """Hidden states alone."""
        return frozenset({"hidden"})

    @property
    def merges_in_llm(self) -> bool:
        """Always: basis tokens move, and the others are averaged."""
        return True

    def select(self, signals: Signals, keep: int) -> Selection:
        """Cut 0; the basis tokens, as sampled, take the places of the tokens of smallest error from left to right."""
        features = signals.features if signals.features is not None else signals.projected
        if features is None:  # the same choice as at the later cut
            return self.select_in_llm(signals, keep)
        return self._compress(features, keep, in_order=True)

    def select_in_llm(self, signals: Signals, keep: int) -> Selection:
        """As at cut 0, but the first basis token takes the place of the largest error among the last ones."""
        assert signals.hidden is not None
        return self._compress(signals.hidden, keep, in_order=False)

    def _compress(self, features: Tensor, keep: int, in_order: bool) -> Selection:
        rows = geometry.precise(features)
        basis = basis_tokens(rows, self.basis, self.start)
        error = approximation_error(rows, basis)
        scores = {"error": error}
        if keep >= len(rows):
            return Selection(torch.arange(len(rows), device=rows.device), scores=scores)
        places = min(len(basis), keep - 1)
        ranked = geometry.top(error, keep)
        own, last = ranked[: keep - places].sort().values, ranked[keep - places :]
        ordered = last.sort().values
        kept = ranked.sort().values
        into = geometry.nearest_kept(rows, own).index_fill(0, last, -1)
        mix = self._weights(into, kept, ordered if in_order else last, basis[:places])
        return Selection(kept, {"informative": own, "basis": ordered}, into, scores, mix)

    def _weights(self, into: Tensor, kept: Tensor, places: Tensor, basis: Tensor) -> Tensor:
        """(kept, tokens): means of the tokens that merge; `basis` tokens at `places`, one for each."""
        every = torch.arange(len(into), device=into.device)
        row = torch.zeros_like(every).index_copy_(0, kept, torch.arange(len(kept), device=into.device))
        joins = (into >= 0).index_fill(0, kept, True).float()  # kept tokens join themselves
        weights = joins.new_zeros(len(kept), len(into))
        weights[row[into.where(into >= 0, every)], every] = joins
        weights = weights / weights.sum(1, keepdim=True)
        at = row[places]
        weights[at] *= self.own_share
        return weights.index_put_((at, basis), weights.new_full(at.shape, 1 - self.own_share), accumulate=True)


def basis_tokens(features: Tensor, count: int, start: int) -> Tensor:
    """Farthest-point sampling: features (tokens, dim) -> (count,) indices as picked, at most as many as tokens.

    Distances are Euclidean; ties go to the lowest index. Never synchronises with the device.
    Points 0, 1, 5, 9 of a line, count 3, start 1 -> [1, 3, 2].
    """
    tokens = len(features)
    pick = torch.full((1,), min(start, tokens - 1), device=features.device)
    gap = features.new_full((tokens,), torch.inf)  # squared, to the nearest pick
    picks = [pick]
    for _ in range(min(count, tokens) - 1):
        gap = torch.minimum(gap, (features - features.index_select(0, pick)).square().sum(-1))
        gap = gap.index_fill(0, pick, -torch.inf)
        pick = gap.argmax(keepdim=True)
        picks.append(pick)
    return torch.cat(picks)


def approximation_error(features: Tensor, basis: Tensor) -> Tensor:
    """(tokens,) the length of what the best linear combination of the tokens `basis` (n,) leaves of each token.

    features (tokens, dim). A small ridge keeps the combination bounded if basis tokens depend on each other.
    Points (1, 0), (2, 0), (1, 3) and basis [0] -> 0, about 0, 3.
    """
    few = features.index_select(0, basis)
    wide = few.double()  # the ridge is tiny beside the squared length of a token
    square = wide @ wide.T + RIDGE * torch.eye(len(few), device=few.device, dtype=wide.dtype)
    back = (torch.linalg.inv_ex(square).inverse @ wide).to(features.dtype)
    left = features - (features @ few.T) @ back
    error: Tensor = left.norm(dim=-1)
    return error.index_fill(0, basis, 0)  # exactly, so that no rounding error ranks them
