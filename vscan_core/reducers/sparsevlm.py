"""SparseVLM: drop in stages what the relevant words attend to least, and recycle the best of the dropped tokens.

Source: SparseVLM, arXiv 2410.04417, sections 3.2 to 3.4; layers, shares and order as in the authors' code v1.5.
Query tokens: those of the text after the image whose embeddings match the visual ones above average. After layers 2, 6
and 15 (of 32) their attention in that layer (softmax over the whole sequence, mean over heads and tokens) ranks the
visual tokens. Of the dropped ones the best 30 % are clustered (density peaks over nearest neighbours) into a tenth
as many tokens, each the mean of its members.

But:
- the budget includes recycled tokens, and each stage keeps the same share of the previous one, derived from the
  retention; `keep` sets the other kept tokens explicitly, published (300, 200, 110), (303, 110, 36) and (66, 30, 17);
- a recycled token takes the place of its cluster's centre instead of following all kept ones, and recycled tokens are
  at most half of the budget;
- ties go to the lowest index, without random noise; if no word is above average, the best one is the query;
- the later version's distance correction and selection of heads are not implemented; apart from them it is
  `SparseVLM(recycle=False, positions="original")`.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.budget import check_keep, check_layers, pyramid, without_idle_cuts
from vscan_core.errors import InputError
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy, Selection, Signals

PUBLISHED_LAYERS, PUBLISHED_DEPTH = (3, 7, 16), 32  # the first layers that fewer tokens enter


@dataclass(frozen=True)
class SparseVLM(Reducer):
    """SparseVLM(retention=1/3) on 576 tokens and 32 layers: 576 into layers 0-2, then 318, 176 and 97."""

    title: ClassVar[str] = "SparseVLM"
    summary: ClassVar[str] = (
        "drop in stages what the relevant words attend to least, and recycle the best of the dropped tokens"
    )
    paper: ClassVar[str] = "SparseVLM, arXiv 2410.04417"

    _: KW_ONLY
    rope_in_scores: bool | None = True
    layers: tuple[int, ...] | None = None  # first layer of each stage; None = the published share of the depth
    keep: tuple[int, ...] | None = None  # tokens kept by each cut, recycled ones apart; None = by retention
    recycle: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for count in self.keep or ():
            check_keep(count, "each of keep")

    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """One cut per stage; counts include recycled tokens."""
        depth = anatomy.text_layers
        scaled = sorted({max(1, round(layer * depth / PUBLISHED_DEPTH)) for layer in PUBLISHED_LAYERS})
        layers = check_layers(scaled if self.layers is None else self.layers, depth)
        if self.keep is None:
            return without_idle_cuts(pyramid(self.retention, tokens * tiles, depth, layers), tokens, tiles)
        if len(self.keep) != len(layers):
            raise InputError(f"there are {len(layers)} layers but {len(self.keep)} counts; give one for each layer")
        cuts, left = {}, tokens * tiles
        for layer, count in zip(layers, self.keep, strict=True):
            if count < left:
                cuts[layer] = left = count + (clusters(left - count) if self.recycle else 0)
        return without_idle_cuts(cuts, tokens, tiles)

    def score_layer(self, cut: int) -> int:
        """The last layer that the tokens to be cut enter."""
        return cut - 1

    @property
    def merges_in_llm(self) -> bool:
        """Whether `recycle` is set."""
        return self.recycle

    @property
    def scores_with_text(self) -> bool:
        """Later cuts are scored by the words that match the picture."""
        return True

    def query_tokens(self, visual: Tensor, text: Tensor) -> Tensor:
        """The text tokens above average in the visual tokens' softmax over all text tokens."""
        fit = (geometry.precise(visual) @ geometry.precise(text).T).softmax(-1).mean(0)
        return (fit > fit.mean()) | (fit == fit.max())

    def select(self, signals: Signals, keep: int) -> Selection:
        """The same choice as at later cuts, from text scores and hidden states; the method itself has no cut 0."""
        return self.select_in_llm(signals, keep)

    def select_in_llm(self, signals: Signals, keep: int) -> Selection:
        """The tokens with the best text scores, and the centres of clusters of the others, which merge into them."""
        assert signals.text is not None
        extra = recycled(signals.tokens, keep) if self.recycle else 0
        if not extra:
            return super().select_in_llm(signals, keep)
        assert signals.hidden is not None
        ranked = geometry.top(geometry.precise(signals.text), signals.tokens)
        best = ranked[: keep - extra].sort().values
        spare = ranked[keep - extra :][: candidates(signals.tokens - len(best))]
        centres, centre_of = cluster(signals.hidden[spare], extra)
        merged_into = torch.full_like(ranked, -1).index_copy(0, spare, spare[centre_of])
        centre = spare[centres].sort().values
        kept = torch.cat([best, centre]).sort().values
        return Selection(
            kept=kept,
            labels={"text": best, "recycled": centre},
            merged_into=merged_into.index_fill(0, kept, -1),
            scores={"text": signals.text},
        )


def candidates(dropped: int) -> int:
    """The number of dropped tokens that are clustered: 276 -> 83."""
    return dropped * 3 // 10 + 1


def clusters(dropped: int) -> int:
    """The number of clusters of `dropped` tokens: 276 -> 9."""
    return candidates(dropped) // 10 + 1


def recycled(tokens: int, keep: int) -> int:
    """How many of `keep` tokens are clusters made of the dropped ones: 576, 309 -> 9."""
    if keep >= tokens:
        return 0
    extra = 0
    while extra < keep // 2 and extra < clusters(tokens - keep + extra):
        extra += 1
    return extra


def cluster(hidden: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Density peaks: hidden (tokens, dim) -> centres (count,), best first, and each token's centre (tokens,).

    A centre is dense, by the mean squared distance to its `count` nearest (itself included), and far from any denser
    token. Points 0, .1, .2, 1, 1.1 on a line, count 3 -> centres [1, 3, 0]: .2 joins .1, and 1.1 joins 1.
    """
    rows = geometry.precise(hidden)
    exact = "donot_use_mm_for_euclid_dist"
    apart = torch.cdist(rows, rows, compute_mode=exact) / rows.shape[1] ** 0.5
    nearest = apart.sort(dim=-1).values[:, : min(count, len(rows))]
    density = (-nearest.square().mean(-1)).exp()
    denser = density[None, :] > density[:, None]
    far = torch.where(denser, apart, apart.max()).amin(-1)
    centres = geometry.top(far * density, count)
    centre_of = centres[apart[centres].argmin(0)]
    return centres, centre_of.index_copy(0, centres, centres)
