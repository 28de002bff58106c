"""PACT: inside the LLM, discard unimportant tokens and replace the others by clusters of bounded width.

Source: PACT, arXiv 2504.08966; scores, order and settings for LLaVA-OneVision as in the authors' code. Importance:
the attention that the mean query of the visual tokens pays to each (no rotary embedding, no causal mask, mean over
heads) times the norm of its hidden state; the best `share` are clustered. Clusters: by cosine distance of rotated
keys, densest first, a token becomes a centre if it is farther than `cutoff` from all earlier centres. The others,
unclustered tokens within 1.5 `cutoff` included, are averaged into their nearest centre, which keeps its position.

But:
- the number of clusters is the budget instead of following from the cutoff: no centres are added beyond it, and if
  there are too few, the most important other tokens become centres; tokens farther than 1.5 `cutoff` from all of them
  are dropped;
- importance is measured among one image's tokens alone, without the system prompt;
- attention is not weighted by cluster size (the paper's proportional attention would need a mask in every layer).
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.errors import InputError
from vscan_core.reducers.single_cut import InsideOnce
from vscan_core.selection import Anatomy, Selection, Signals

RECOVERY = 1.5  # largest distance of a token from the centre that it joins, in cutoffs


@dataclass(frozen=True)
class PACT(InsideOnce):
    """PACT(retention=1/3) on 576 tokens and 32 layers: 576 into layers 0 to 3, 137 into the others."""

    title: ClassVar[str] = "PACT"
    summary: ClassVar[str] = (
        "inside the LLM, discard unimportant tokens and replace the others by clusters of bounded width"
    )
    paper: ClassVar[str] = "PACT, arXiv 2504.08966"

    _: KW_ONLY
    positions: str | None = "original"
    rope_in_scores: bool | None = True
    layer: int | None = None  # first layer that sees fewer tokens; None = 4, or a seventh of a shallower LLM
    share: float = 0.55  # of tokens that are clustered; more if the budget requires it
    cutoff: float = 0.21  # cosine distance
    recycle: bool = True  # average clusters into their centres

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share <= 1:
            raise InputError(f"share must be above 0 and at most 1, but is {self.share}")
        if not 0 <= self.cutoff <= 2:
            raise InputError(f"cutoff must lie between 0 and 2, but is {self.cutoff}")

    def published_layer(self, anatomy: Anatomy) -> int:
        """Layer 4, as published for 28 layers; in a shallower LLM, a seventh of its depth."""
        return max(1, min(4, anatomy.text_layers // 7))

    @property
    def needs_in_llm(self) -> frozenset[str]:
        """The projections of the layer at the cut, and what enters it."""
        return frozenset({"hidden", "queries", "llm_keys", "rotated_keys"})

    @property
    def merges_in_llm(self) -> bool:
        """Whether `recycle` is set."""
        return self.recycle

    def select_in_llm(self, signals: Signals, keep: int) -> Selection:
        """The centres, and the tokens merged into each."""
        assert signals.queries is not None and signals.llm_keys is not None
        assert signals.hidden is not None and signals.rotated_keys is not None
        score = importance(signals.queries, signals.llm_keys, signals.hidden)
        count = max(keep, int(self.share * len(score)))
        pool = geometry.top(score, count).sort().values
        unit = torch.nn.functional.normalize(geometry.precise(signals.rotated_keys.flatten(1)), dim=-1)
        apart = (1 - unit[pool] @ unit[pool].T).clamp(min=0)
        density = (-(apart / 2).square()).exp().sum(-1)
        picked = geometry.spread(density, apart <= self.cutoff, score[pool], keep)
        kept = pool[picked].sort().values
        merged_into = None
        if self.recycle:
            gap, nearest = (1 - unit @ unit[kept].T).min(-1)
            merged_into = kept[nearest].where(gap <= RECOVERY * self.cutoff, -1).index_fill(0, kept, -1)
        return Selection(kept=kept, labels={"centre": kept}, merged_into=merged_into, scores={"importance": score})


def importance(queries: Tensor, llm_keys: Tensor, hidden: Tensor) -> Tensor:
    """(tokens,): attention of the mean query, times the norm of the hidden state.

    queries (tokens, heads, head_dim), llm_keys (tokens, kv_heads, head_dim), hidden (tokens, dim). One query row.
    """
    mean = geometry.precise(queries).mean(0).view(llm_keys.shape[1], -1, llm_keys.shape[2])
    logits = torch.einsum("kgd,tkd->kgt", mean, geometry.precise(llm_keys)) * llm_keys.shape[2] ** -0.5
    weights: Tensor = logits.softmax(-1).mean((0, 1)) * geometry.precise(hidden).norm(dim=-1)
    return weights
