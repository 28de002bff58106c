"""PruneSID: group tokens by principal components, and keep from every group those that are not redundant.

Source: PruneSID, arXiv 2603.09480; settings, order of operations and rounding as in the authors' code. A principal
component analysis of the sigmoid of the features, with the tokens as variables, gives a quarter as many components as
tokens are to be kept; a token belongs to the component on which it loads most. In every group, best first, a token is
suppressed if its cosine with a better one that is not is above a threshold, which grows with the budget and with the
mean cosine of the picture. Groups share the budget by how many survive, and give survivors first. With a CLS token,
"best" is by the attention of CLS and the features are those before the projector; without, it is by the loading, the
features are those after the merger, and the threshold is about half as high (the code for Qwen2-VL).

But:
- the components are approximated by random projection as in the released code, but from a fixed `seed` instead of
  drawn anew for every picture; seed=None computes them exactly;
- the released code also passes CLS to the LLM and counts it; here it is left out, so that a budget of 63 keeps the 63
  patches that are kept there for 64;
- budgets below four tokens have one group; ties go to the lowest index; kept tokens stay in picture order (there,
  group by group, and on pictures of several tiles at the places of other tokens).
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

KEPT_PER_GROUP, POWER_ITERATIONS = 4, 2


@dataclass(frozen=True)
class PruneSID(AtEntrance):
    """Uses the CLS row where there is one, and no attention elsewhere."""

    title: ClassVar[str] = "PruneSID"
    summary: ClassVar[str] = (
        "group tokens by principal components, and keep from every group those that are not redundant"
    )
    paper: ClassVar[str] = "PruneSID, arXiv 2603.09480"

    _: KW_ONLY
    seed: int | None = 0  # of the random projection; None = exact components

    def needs(self, anatomy: Anatomy) -> Needs:
        """CLS attention of the output layer; without CLS, features after the projector."""
        return Needs(cls_attention=(anatomy.feature_layer,)) if anatomy.has_cls else Needs(projected=True)

    def select(self, signals: Signals, keep: int) -> Selection:
        """The groups' shares of the budget, survivors first."""
        has_cls = bool(signals.cls_attention)
        features = signals.features if has_cls and signals.features is not None else signals.projected
        assert features is not None
        rows = geometry.precise(features)
        tokens = len(rows)
        if keep >= tokens:
            return Selection(torch.arange(tokens, device=rows.device))
        budget = keep + has_cls
        unit = normalize(rows, dim=-1)
        loads = self._loadings(rows, max(1, budget // KEPT_PER_GROUP))
        value, group = loads.max(-1)
        if has_cls:
            value = signals.salience
        ranked = geometry.top(value, tokens)
        group, unit = group[ranked], unit[ranked]  # from here on, best first
        redundant = unit @ unit.T > self._threshold(unit, budget, has_cls)
        lives = survivors(redundant & (group[:, None] == group))
        counts = group.new_zeros(2, loads.shape[1])  # tokens of each group, and survivors
        counts.index_add_(1, group, torch.stack([torch.ones_like(group), lives.long()]))
        sizes, alive = counts.cpu()
        quota = granted(sizes, alive, budget, keep).to(rows.device)
        turns = (2 * group + ~lives).argsort(stable=True)  # group by group, in each the survivors first
        ends = counts[0].cumsum(0) - counts[0] + quota  # of what each group gives, in this order
        gives = torch.arange(tokens, device=rows.device) < ends[group[turns]]
        kept = ranked[turns[geometry.top(gives.int(), keep)]].sort().values
        return Selection(kept, {"diverse": kept}, scores={"global" if has_cls else "loading": value})

    def _threshold(self, unit: Tensor, budget: int, has_cls: bool) -> Tensor:
        """Above which cosine a token is redundant; unit (tokens, dim) are the features divided by their lengths."""
        tokens, alike = len(unit), unit.sum(0).square().sum()  # the sum of all cosines
        itself = unit.square().sum()
        if has_cls:
            return budget / 32 * (alike - itself) / max(tokens * (tokens - 1), 1)
        return max(18 * budget / tokens, 1) * (alike + itself) / 2 / tokens**2

    def _loadings(self, rows: Tensor, groups: int) -> Tensor:
        """(tokens, groups) how much each token contributes to each component, without sign."""
        table = rows.sigmoid().T
        table = table - table.mean(0)  # (dim, tokens), every token around its own mean
        groups = min(groups, *table.shape)
        if self.seed is None:
            exact: Tensor = torch.linalg.svd(table, full_matrices=False).Vh[:groups].T
            return exact.abs()
        drawn = self.projection(min(table.shape), groups).to(table)
        return components(table, drawn)

    def projection(self, length: int, groups: int) -> Tensor:
        """(length, groups) normal numbers, drawn on the CPU, so that every device draws the same."""
        assert self.seed is not None
        return torch.randn(length, groups, generator=torch.Generator().manual_seed(self.seed))


def components(table: Tensor, drawn: Tensor) -> Tensor:
    """Loadings on the main right singular vectors of a table (dim, tokens), by randomised subspace iteration.

    drawn (shorter side, groups): the random start -> (tokens, groups), without sign (Halko et al., arXiv 0909.4061).
    """
    tall = len(table) >= table.shape[1]
    matrix = table if tall else table.T
    span = torch.linalg.qr(matrix @ drawn).Q
    for _ in range(POWER_ITERATIONS):
        span = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ span).Q).Q
    left, _, right = torch.linalg.svd(span.T @ matrix, full_matrices=False)
    found: Tensor = right.T if tall else span @ left
    return found.abs()


def survivors(clash: Tensor) -> Tensor:
    """clash (tokens, tokens) bool, best first -> (tokens,) bool: those that clash with no better survivor.

    Takes as many rounds as the longest chain of tokens that exclude one another, and reads each result.
    Of three where 0 clashes with 1 and 1 with 2 -> True, False, True.
    """
    better = clash.tril(-1)
    lives = torch.ones_like(clash[0])
    while True:
        again = ~(better & lives).any(1)
        if torch.equal(again, lives):
            return lives
        lives = again


def granted(sizes: Tensor, alive: Tensor, budget: int, keep: int) -> Tensor:
    """How many of the `keep` tokens each group gives; sizes and alive (groups,): its tokens and its survivors.

    At least one, in proportion to survivors, up to a limit that rises until it allows `budget` tokens; what is left
    then goes to the groups with most survivors. Sizes 6, 3, 1, survivors 3, 1, 1, budget 5, keep 5 -> 3, 1, 1.
    """
    low = sizes.clamp(max=1)
    high = torch.minimum(sizes, alive).clamp(max=5 * -(-budget // 64))
    while high.sum() < budget:
        high = torch.minimum(high + 1, sizes)
    free = max(0, keep - int(low.sum()))
    ends = ((alive.float() / alive.sum()).cumsum(0) * free).round().long()
    given = torch.minimum(ends.diff(prepend=ends.new_zeros(1)) + low, high)
    order = alive.argsort(descending=True, stable=True)
    room = (high - given)[order]
    more = (free + low.sum() - given.sum() - (room.cumsum(0) - room)).clamp(min=0)
    return given.index_add(0, order, torch.minimum(more, room))
