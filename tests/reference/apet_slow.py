"""ApET and V2Drop token by token from their papers: slow, obvious, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.reference.peers_slow import best_first, cosine


def apet(
    features: Tensor, keep: int, basis: int = 10, start: int = 0, in_order: bool = True, own_share: float = 0.0
) -> tuple[list[int], Tensor]:
    """Kept tokens in ascending order and a row for each; in_order: at the entrance of the LLM, not inside it."""
    rows, tokens = features.double(), range(len(features))
    if keep >= len(rows):
        return list(tokens), features
    picks = [min(start, len(rows) - 1)]
    while len(picks) < min(basis, len(rows)):
        gaps = {i: min((rows[i] - rows[j]).norm().item() for j in picks) for i in tokens if i not in picks}
        picks.append(max(gaps, key=lambda i: (gaps[i], -i)))
    table = rows[picks].T  # (dim, picks): least squares with a small penalty
    wide = torch.cat([table, 1e-5**0.5 * torch.eye(len(picks), dtype=torch.float64)])
    error = torch.tensor([0.0 if i in picks else _left_over(table, wide, rows[i]) for i in tokens])
    ranked = best_first(error, list(tokens))[:keep]
    places = min(len(picks), keep - 1)
    own, last = ranked[: keep - places], ranked[keep - places :]
    out = {}
    for place, pick in zip(sorted(last) if in_order else last, picks, strict=False):
        out[place] = (1 - own_share) * rows[pick] + own_share * rows[place]
    groups = {token: [token] for token in sorted(own)}
    for token in tokens:
        if token not in ranked:
            groups[max(groups, key=lambda other: cosine(features, token, other))].append(token)
    out |= {token: rows[group].mean(0) for token, group in groups.items()}
    return sorted(ranked), torch.stack([out[token] for token in sorted(ranked)]).to(features.dtype)


def _left_over(table: Tensor, wide: Tensor, row: Tensor) -> float:
    target = torch.cat([row, row.new_zeros(len(wide) - len(row))])
    found = torch.linalg.lstsq(wide, target[:, None]).solution[:, 0]
    return (row - table @ found).norm().item()


def v2drop(hidden: Tensor, entered: Tensor, keep: int) -> list[int]:
    """The tokens that moved farthest."""
    moved = torch.tensor([(one.double() - other.double()).norm() for one, other in zip(hidden, entered, strict=True)])
    return sorted(best_first(moved, list(range(len(hidden))))[:keep])
