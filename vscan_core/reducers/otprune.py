"""OTPrune: keep tokens that together vary as much as all tokens do, chosen greedily by a log-determinant.

Source: OTPrune, arXiv 2602.20205: the tokens whose distribution is nearest to that of all tokens, made tractable as the
largest log-determinant of I + gamma * F F', where F holds the products of all pairs of projected features after every
dimension was scaled to length 1 over the tokens; gamma .01. Greedy maximum by an incremental Cholesky factor, the one
of CDPruner; no optimal transport is computed.

But:
- kept tokens stay in the order of the picture (the released code hands them over in the order of a Python set);
- the identity is left out of the running variances, so that in float32 small differences are not rounded away beside
  it (the released code keeps it and stores the factor in the type of the model);
- newline tokens are no candidates (in the released code they are).
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.errors import InputError
from vscan_core.reducers.cdpruner import greedy_map
from vscan_core.reducers.single_cut import AtEntrance
from vscan_core.selection import Anatomy, Needs, Selection, Signals


@dataclass(frozen=True)
class OTPrune(AtEntrance):
    """Uses only the features: no attention, no CLS, no text."""

    title: ClassVar[str] = "OTPrune"
    summary: ClassVar[str] = (
        "keep tokens that together vary as much as all tokens do, chosen greedily by a log-determinant"
    )
    paper: ClassVar[str] = "OTPrune, arXiv 2602.20205"

    _: KW_ONLY
    gamma: float = 0.01  # weight of the features beside the identity

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.gamma < torch.inf:
            raise InputError(f"gamma must be positive and finite, but is {self.gamma}")

    def needs(self, anatomy: Anatomy) -> Needs:
        """Projected features."""
        return Needs(projected=True)

    def select(self, signals: Signals, keep: int) -> Selection:
        """The greedy set of largest determinant."""
        assert signals.projected is not None
        kernel = self.gamma * covariances(signals.projected)
        kept = greedy_map(kernel, torch.ones_like(kernel[0]), keep, ridge=1.0).sort().values
        return Selection(kept=kept, labels={"diverse": kept})


def covariances(features: Tensor) -> Tensor:
    """features (tokens, dim) -> (tokens, tokens), how alike tokens are in what they have in common with all others.

    Dimensions that are 0 everywhere count nothing. Rows (3, 0), (4, 1) -> scaled (.6, 0), (.8, 1), products .36, .48,
    1.64 -> [[.36, .96], [.96, 2.92]].
    """
    scaled = torch.nn.functional.normalize(geometry.precise(features), dim=0)
    products = scaled @ scaled.T
    return products @ products.T
