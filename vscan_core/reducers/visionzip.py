"""VisionZip: keep the tokens that CLS attends to most, and merge all others into a few contextual tokens.

Source: VisionZip, arXiv 2412.04467, section 3.2 (dominant and contextual tokens); published split 54 : 10.
Dominant: the best by the CLS row of the output layer. Contextual: of the others, in picture order, every n-th is a
target; each of the rest is merged, before the projector, into the target whose key (head mean) has the most similar
direction.

But:
- a contextual token is the mean of all its members, as the paper says; released=True adds the mean of the merged ones
  to the target, as the released code does, which gives a token of about twice the usual norm;
- the released code also passes CLS to the LLM, as the first of its dominant tokens; CLS is not a visual token and the
  projector was not trained on it, so it is left out (54 + 10 there is 63 tokens with contextual=10 here);
- contextual tokens keep their target's place in the sequence instead of following all dominant ones.
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

CONTEXTUAL_SHARE = 10 / 64


@dataclass(frozen=True)
class VisionZip(AtEntrance):
    """The budget is the sum of dominant and contextual tokens."""

    title: ClassVar[str] = "VisionZip"
    summary: ClassVar[str] = (
        "keep the tokens that CLS attends to most, and merge all others into a few contextual tokens"
    )
    paper: ClassVar[str] = "VisionZip, arXiv 2412.04467"

    _: KW_ONLY
    contextual: int | None = None  # tokens; None = the published share of the budget
    released: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.contextual is not None and self.contextual < 0:
            raise InputError(f"contextual must be at least 0 tokens, but is {self.contextual}")

    def needs(self, anatomy: Anatomy) -> Needs:
        """CLS attention and keys of the output layer."""
        return Needs(cls_attention=(anatomy.feature_layer,), keys=True)

    def select(self, signals: Signals, keep: int) -> Selection:
        """The contextual tokens, at most `keep`; the rest of the budget is dominant tokens."""
        assert signals.keys is not None
        scores = signals.salience
        wanted = round(keep * CONTEXTUAL_SHARE) if self.contextual is None else self.contextual
        targets = min(wanted, keep)
        ranked = geometry.top(scores, signals.tokens)
        dominant, rest = ranked[: keep - targets].sort().values, ranked[keep - targets :].sort().values
        if targets == 0:
            return Selection(kept=dominant, labels={"global": dominant}, scores={"global": scores})
        context = rest[:: max(1, len(rest) // targets)][:targets]
        kept = torch.cat([dominant, context]).sort().values
        merged_into = geometry.nearest_kept(signals.keys, context).index_fill(0, kept, -1)
        mix = released_mix(kept, merged_into) if self.released else None
        labels = {"global": dominant, "contextual": context}
        return Selection(kept=kept, labels=labels, merged_into=merged_into, scores={"global": scores}, mix=mix)


def released_mix(kept: Tensor, merged_into: Tensor) -> Tensor:
    """(kept, tokens): each kept token plus the mean of those merged into it."""
    member = (merged_into[None, :] == kept[:, None]).float()
    mean = member / member.sum(1, keepdim=True).clamp(min=1)
    return mean.scatter_add(1, kept[:, None], torch.ones_like(mean[:, :1]))
