"""CDPruner: keep relevant and mutually dissimilar tokens, chosen by a determinantal point process.

Source: CDPruner, arXiv 2506.10967, section 3. Kernel: cosine of the projected features, weighted on both sides with
the relevance, scaled to 0..1 within the image. Greedy maximum of the log-determinant by an incremental Cholesky
factor (Chen et al., arXiv 1709.05135). Relevance: cosine of patch and question in CLIP's joint space, mean over the
segments of the question. As in the released code its sign is reversed, because on CLIP's second to last layer relevant
patches turn out to have the lower similarity (`negate=False` follows the paper's formula).

But:
- 1e-6 is added both to the shifted relevance and to its range (the released code adds it only to the former, and
  divides by zero if all are equal); the range is that of the image (the released code takes that of the batch: `span`);
- once every remaining token is redundant with those picked, the most relevant ones fill the budget.

Where tokens are almost equal, near ties decide: on drawn pictures a relative noise of 1e-7 in the signals changes 1 or
2 of 96 kept tokens in nearly every second picture (`benchmarks/near_ties.py`).
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vscan_core import geometry
from vscan_core.reducers.single_cut import AtEntrance
from vscan_core.selection import Anatomy, Needs, Selection, Signals

TINY = 1e-6


@dataclass(frozen=True)
class CDPruner(AtEntrance):
    """Needs the question and both halves of CLIP (`joint_space`); models whose tower is no CLIP are refused.

    For these the paper compares tokens behind the projector with the mean embedding of the instruction's tokens. No
    code was released for that, and users report that they could not reproduce it, so it is left out here.
    """

    title: ClassVar[str] = "CDPruner"
    summary: ClassVar[str] = "keep relevant and mutually dissimilar tokens, chosen by a determinantal point process"
    paper: ClassVar[str] = "CDPruner, arXiv 2506.10967"

    _: KW_ONLY
    negate: bool = True
    span: tuple[float, float] | None = None  # smallest and largest relevance to scale by; None = this image's

    def needs(self, anatomy: Anatomy) -> Needs:
        """Projected features, and patches and question in the joint space."""
        return Needs(projected=True, joint=True)

    def select(self, signals: Signals, keep: int) -> Selection:
        """The greedy set of largest determinant."""
        assert signals.projected is not None
        assert signals.joint_patches is not None and signals.joint_text is not None
        scores = similarity(signals.joint_patches, signals.joint_text) * (-1 if self.negate else 1)
        low, high = (scores.min(), scores.max()) if self.span is None else self.span
        weights = (scores - low + TINY) / (high - low + TINY)
        kernel = relevance_kernel(signals.projected, weights)
        kept = greedy_map(kernel, weights, keep).sort().values
        return Selection(kept=kept, labels={"diverse": kept}, scores={"text": weights})


def similarity(patches: Tensor, text: Tensor) -> Tensor:
    """(tokens,) mean cosine of each of the patches (tokens, dim) with the text (segments, dim)."""
    cosine = normalize(geometry.precise(patches), dim=-1) @ normalize(geometry.precise(text), dim=-1).T
    return cosine.mean(-1)


def relevance_kernel(features: Tensor, weights: Tensor) -> Tensor:
    """features (tokens, dim), weights (tokens,) -> (tokens, tokens) cosines, weighted on both sides."""
    unit = normalize(geometry.precise(features), dim=-1)
    return unit @ unit.T * weights[:, None] * weights[None, :]


def greedy_map(kernel: Tensor, weights: Tensor, keep: int, ridge: float = 0.0) -> Tensor:
    """The greedy set of largest determinant: (keep,) indices in the order in which they are picked.

    kernel (tokens, tokens), without the `ridge` that its diagonal is to have in addition; weights (tokens,), at most 1,
    rank the tokens that are redundant with those picked. For each pick one row of the kernel and one product with the
    factor so far (picks, tokens). Never synchronises with the device.
    """
    gain = kernel.diagonal().clone()  # of each token: its variance given those picked, without the ridge
    free = torch.zeros_like(gain)  # -inf where picked
    factor = gain.new_zeros(keep, len(gain))
    picks = []
    for step in range(min(keep, len(gain))):
        new = gain + ridge > TINY * weights.square()  # else rounding error: the token is in the span of those picked
        pick = (torch.where(new, gain, weights - 2) + free).argmax(keepdim=True)
        past = factor[:step].T @ factor[:step].index_select(1, pick)[:, 0]  # (tokens,)
        row = (kernel.index_select(0, pick)[0] - past) * (gain.index_select(0, pick) + ridge).abs().rsqrt()
        factor[step] = torch.where(new.index_select(0, pick), row, 0)
        gain = gain - factor[step].square()
        free = free.index_fill(0, pick, -torch.inf)
        picks.append(pick)
    return torch.cat(picks)
