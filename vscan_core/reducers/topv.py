"""TopV: inside the LLM, keep the tokens that contribute most to a layer's output, by optimal transport.

Source: TopV, arXiv 2503.18278. Sources are the visual tokens that enter the layer before the cut, targets are the
same tokens after its attention and norm. The cost of moving source i to target j is a weighted sum of their distance,
1 - exp(-gap^2 / 2 s^2) of their gap in the picture, and the distance of i from the middle, each divided by its largest
value; the entropic plan gives the contribution of each source. Some of the other tokens are recovered, evenly spaced.
No attention weights are used.

But: weights, widths and the measure of contribution are not published, so this is the simplest interpretation:
- weights 1, 1 and .01; s is .4 of the picture's longer side; the plan is exp(-cost / .1) between equal shares;
- only the targets' shares are constrained, which takes one normalisation: Sinkhorn iterations that also constrain the
  sources' shares would make all contributions, the sums over targets, equal;
- a quarter of the budget is recovered tokens; position ids follow the family; newlines have no spatial cost.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.errors import InputError
from vscan_core.reducers.single_cut import InsideOnce
from vscan_core.selection import Selection, Signals

OFF_CENTRE, SIGMA, SMOOTH = 0.01, 0.4, 0.1


@dataclass(frozen=True)
class TopV(InsideOnce):
    """TopV(retention=1/9) on 576 tokens and 32 layers: 576 into layers 0 and 1, 30 into the others."""

    title: ClassVar[str] = "TopV"
    summary: ClassVar[str] = (
        "inside the LLM, keep the tokens that contribute most to a layer's output, by optimal transport"
    )
    paper: ClassVar[str] = "TopV, arXiv 2503.18278"

    _: KW_ONLY
    recovered_share: float = 0.25  # of the budget: evenly spaced among the tokens that do not contribute most

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.recovered_share <= 1:
            raise InputError(f"recovered_share must lie between 0 and 1, but is {self.recovered_share}")

    @property
    def needs_in_llm(self) -> frozenset[str]:
        """The tokens that enter the layer before the cut, those after its attention and norm, and their places."""
        return frozenset({"entered", "attended", "places"})

    def score_layer(self, cut: int) -> int:
        """The last layer that all tokens enter."""
        return cut - 1

    def select_in_llm(self, signals: Signals, keep: int) -> Selection:
        """The tokens that contribute most, and some of the others."""
        assert signals.entered is not None and signals.attended is not None
        places = signals.places
        if places is None and signals.grid is not None:
            boxes = geometry.patch_boxes(*signals.grid, *signals.grid)
            places = (boxes[:, :2] + boxes[:, 2:]) / 2 / max(signals.grid)
        value = contribution(transport_cost(signals.entered, signals.attended, places))
        ranked = geometry.top(value, len(value))
        back = int(keep * self.recovered_share)
        best, dropped = ranked[: keep - back].sort().values, ranked[keep - back :].sort().values
        step = (2 * torch.arange(back, device=ranked.device) + 1) * len(dropped) // max(1, 2 * back)
        recovered = dropped[step]
        kept = torch.cat([best, recovered]).sort().values
        return Selection(kept=kept, labels={"important": best, "recovered": recovered}, scores={"transport": value})


def transport_cost(entered: Tensor, attended: Tensor, places: Tensor | None) -> Tensor:
    """entered, attended (tokens, dim), places (tokens, 2) or None -> (tokens, tokens): source i to target j."""
    cost = _of_most(torch.cdist(geometry.precise(entered), geometry.precise(attended)))
    if places is None:
        return cost
    at = places.to(cost)
    lost = at.isnan().any(-1)
    low = at.masked_fill(lost[:, None], torch.inf).amin(0)
    high = at.masked_fill(lost[:, None], -torch.inf).amax(0)
    off = (at - (low + high) / 2).norm(dim=-1).masked_fill(lost, 0)
    gap = torch.cdist(at, at, compute_mode="donot_use_mm_for_euclid_dist")
    apart = (1 - (-gap.square() / (2 * SIGMA**2)).exp()).masked_fill(lost[:, None] | lost[None, :], 0)
    return cost + _of_most(apart) + OFF_CENTRE * _of_most(off)[:, None]


def contribution(cost: Tensor) -> Tensor:
    """(tokens, tokens) -> (tokens,) total of each source in a plan where every target receives 1; the mean is 1."""
    return (-cost / SMOOTH).softmax(0).sum(1)


def _of_most(values: Tensor) -> Tensor:
    return values / values.amax().clamp(min=torch.finfo(values.dtype).tiny)
