"""ToMe: merge similar tokens block by block inside the vision encoder, which makes it faster too.

Source: Token Merging, arXiv 2210.09461, section 3 (bipartite soft matching, proportional attention). In every block,
between attention and MLP, each token at an even place is matched with the token at an odd place whose key (head mean)
has the most similar direction; the best matches are averaged, weighted by the number of patches that each token
represents. CLS never merges. Attention adds the logarithm of that number to its logits.

But:
- the paper merges a fixed number in each block of a classifier; here the numbers are as equal as possible, larger ones
  first, so that the budget is met at the layer whose output the LLM receives; a block at most halves the tokens;
- merged tokens are ordered by their first patch, whose place they take;
- `select`, on tensors without a model, matches the same keys repeatedly instead of those of each block;
- where tiles are partly padding (LLaVA-NeXT), a group with any token of the picture takes the place of the first of
  these; groups of padding alone are thrown away by the model, so how many tokens are left depends on the picture;
- only vision encoders whose blocks accept fewer tokens are supported (CLIP, without flash attention).

A match can be one of near ties: on drawn pictures a relative noise of 1e-7 in the keys changes 1 of 96 kept tokens on
average, and up to 20, in one of twenty pictures (`benchmarks/near_ties.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.errors import InputError
from vscan_core.reducers.single_cut import AtEntrance
from vscan_core.selection import Anatomy, Needs, Selection, Signals

BLOCKS = 23  # of CLIP-L, up to the output that LLaVA sees


@dataclass(frozen=True)
class ToMe(AtEntrance):
    """Uses only keys: no CLS attention, no text."""

    title: ClassVar[str] = "ToMe"
    summary: ClassVar[str] = "merge similar tokens block by block inside the vision encoder, which makes it faster too"
    paper: ClassVar[str] = "Token Merging, arXiv 2210.09461"

    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """One cut at the entrance. Raises InputError if halving in every block leaves more tokens."""
        cuts = super().schedule(tokens, anatomy, tiles)
        least = math.ceil(tokens / 2 ** (anatomy.feature_layer + 1))
        if cuts and cuts[0] < least:
            share = math.ceil(least / tokens * 1e4) / 1e4
            raise InputError(
                f"retention {self.retention:.4g} of {tokens} visual tokens is out of reach of a method that at most "
                f"halves them in each of {anatomy.feature_layer + 1} vision blocks; the least is {share:.4g}"
            )
        return cuts

    def needs(self, anatomy: Anatomy) -> Needs:
        """The blocks of the vision encoder."""
        return Needs(blocks=True)

    def select(self, signals: Signals, keep: int) -> Selection:
        """The result of merging in all blocks, if every block had these keys."""
        assert signals.keys is not None
        keys = geometry.precise(signals.keys)[None]
        size = keys.new_ones(1, signals.tokens)
        group = torch.arange(signals.tokens, device=keys.device)
        for drop in filter(None, self.drops(signals.tokens, keep, BLOCKS)):
            place = self.partners(keys, drop, first_stays=False)
            keys, size, group = *geometry.pool(keys, size, place, keys.shape[1] - drop), place[0][group]
        return Selection.groups(group, keep)

    def drops(self, tokens: int, keep: int, blocks: int) -> list[int]:
        """Number of tokens to merge in each block. 576 to 64 in 23 blocks: 6 times 23, then 17 times 22."""
        steps = []
        for left in range(blocks - 1, -1, -1):
            even = -(-(tokens - keep) // (left + 1))
            steps.append(max(even, tokens - keep * 2**left))  # the rest can halve at most
            tokens -= steps[-1]
        return steps

    def partners(self, keys: Tensor, drop: int, first_stays: bool) -> Tensor:
        """keys (images, tokens, dim) -> (images, tokens): the new index of each token among the `tokens - drop` left.

        Even tokens that did not merge come first, then the odd ones.
        """
        unit = torch.nn.functional.normalize(geometry.precise(keys), dim=-1)
        best, partner = (unit[:, 0::2] @ unit[:, 1::2].transpose(1, 2)).max(-1)
        if first_stays:
            best[:, 0] = -torch.inf
        ranked = geometry.top(best, best.shape[1])
        stays = ranked[:, drop:].sort().values
        place = torch.empty_like(keys[..., 0], dtype=torch.long)
        even = partner + stays.shape[1]
        place[:, 0::2] = even.scatter(1, stays, torch.arange(stays.shape[1], device=keys.device).expand_as(stays))
        place[:, 1::2] = torch.arange(place[:, 1::2].shape[1], device=keys.device) + stays.shape[1]
        return place
