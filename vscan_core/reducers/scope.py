"""SCOPE: keep tokens that CLS attends to and that cover what the tokens kept before leave uncovered.

Source: SCOPE, arXiv 2510.24214: a token is covered as well as its most similar kept token is similar to it (cosine of
the features before the projector, at least 0). Greedily, the next token is the one with the largest product of its
gain, by how much it raises the coverage of all tokens together, and its attention from CLS to the power of `alpha`.

But:
- cosines are computed in float32 and gains in float64 (in the released code, in the type of the vision encoder);
- without a CLS token, attention is received attention; if several patches make one token, features are those after
  the projector;
- the script released for LLaVA-NeXT runs another method, so the figures published for that model may not be this one's.
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

READ_WHOLE = 1024  # tokens up to which reading all similarities costs less than asking which have changed


@dataclass(frozen=True)
class SCOPE(AtEntrance):
    """Attention and coverage decide together on every token."""

    title: ClassVar[str] = "SCOPE"
    summary: ClassVar[str] = (
        "keep tokens that CLS attends to and that cover what the tokens kept before leave uncovered"
    )
    paper: ClassVar[str] = "SCOPE, arXiv 2510.24214"

    _: KW_ONLY
    alpha: float = 1.0  # 0 = coverage alone; the larger, the more attention counts
    add: bool = False  # add the attention, summed over heads, to the gain instead of multiplying them

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alpha >= 0:
            raise InputError(f"alpha must be at least 0, but is {self.alpha}")

    def needs(self, anatomy: Anatomy) -> Needs:
        """CLS attention of the output layer."""
        return Needs(cls_attention=(anatomy.feature_layer,))

    def select(self, signals: Signals, keep: int) -> Selection:
        """The greedy set."""
        features = signals.projected if signals.features is None else signals.features
        assert features is not None
        scores = signals.salience
        if self.add:
            heads = len(next(iter(signals.cls_attention.values()))) if signals.cls_attention else 1
            weights = (scores * heads) ** self.alpha
        else:  # of a product only the order counts, and shares of the largest do not vanish in a power
            weights = (scores / scores.amax().clamp(min=torch.finfo(scores.dtype).tiny)) ** self.alpha
        kept = covering(features, weights, keep, self.add).sort().values
        return Selection(kept=kept, labels={"diverse": kept}, scores={"global": scores})


def covering(features: Tensor, weights: Tensor, keep: int, add: bool = False) -> Tensor:
    """features (tokens, dim), weights (tokens,) -> (keep,) indices in the order in which they are picked.

    One (tokens, tokens) matrix. For each pick it reads all of it without ever synchronising with the device; of more
    than `READ_WHOLE` tokens only the rows of those that are covered better now, which waits for their number.
    Ties go to the lowest index. Unit vectors at 0, 10, 20, 90 degrees, equal weights, keep 2 -> [2, 3].
    """
    unit = torch.nn.functional.normalize(geometry.precise(features), dim=-1)
    alike = unit @ unit.T
    gain = alike.clamp(min=0).sum(0, dtype=torch.float64)  # of each candidate, over the tokens that it would cover
    covered, free = torch.zeros_like(alike[0]), torch.zeros_like(gain)  # free: -inf where picked
    picks = []
    for _ in range(min(keep, len(alike))):
        pick = ((gain + weights if add else gain * weights) + free).argmax(keepdim=True)
        better = torch.maximum(covered, alike.index_select(0, pick)[0])
        rows, low, high = alike, covered, better
        if len(alike) > READ_WHOLE:
            raised = (better > covered).nonzero()[:, 0]
            rows, low, high = (values.index_select(0, raised) for values in (alike, covered, better))
        # what lies between the old and the new coverage of a token is gained already
        gain = gain - (
            rows.clamp(low[:, None], high[:, None]).sum(0, dtype=torch.float64) - low.sum(dtype=torch.float64)
        )
        covered, free = better, free.index_fill(0, pick, -torch.inf)
        picks.append(pick)
    return torch.cat(picks)
