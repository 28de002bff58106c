"""Methods that spread the kept tokens, once more: SCOPE, HoloV and OTPrune token by token, slow, obvious, in float64.

Every function returns the kept tokens in ascending order; equal scores go to the lowest index.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from tests.reference.peers_slow import best_first, cosine


def scope(
    features: Tensor, scores: Tensor, keep: int, alpha: float = 1.0, heads: int = 1, add: bool = False
) -> list[int]:
    """`heads` count only where attention is added."""
    tokens = range(len(scores))
    alike = [[cosine(features, one, other) for other in tokens] for one in tokens]
    picked: list[int] = []
    while len(picked) < keep:
        covered = [max([0.0, *(alike[token][pick] for pick in picked)]) for token in tokens]
        worth = {}
        for candidate in tokens:
            if candidate not in picked:
                gain = sum(max(0.0, alike[token][candidate] - covered[token]) for token in tokens)
                attention = scores[candidate].double().item()
                worth[candidate] = gain + (heads * attention) ** alpha if add else gain * attention**alpha
        picked.append(max(worth, key=lambda candidate: worth[candidate]))
    return sorted(picked)


def holov(
    projected: Tensor, scores: Tensor, keep: int, runs: int | None = None, common: bool = False
) -> tuple[list[int], list[int]]:
    """Kept tokens, and those of them that the runs were granted before what was left over filled up the budget."""
    tokens = list(range(len(scores)))
    runs = runs or max(1, int(1024 / 576 * len(tokens) / keep))
    members = [part for part in _cut(tokens, min(runs, len(tokens))) if part]
    diversity = [[_diversity(projected, token, part) for token in part] for part in members]
    attention = [[1000 * scores[token].double().item() for token in part] for part in members]
    worth = []
    for mine, diverse in zip(attention, diversity, strict=True):
        inside = (attention, diversity) if common else ([mine], [diverse])
        level, spread = (sum(map(sum, values)) / sum(map(len, values)) for values in inside)
        scale = level / (spread + 1e-6)
        worth.append(sum(one + 0.09 * scale * other for one, other in zip(mine, diverse, strict=True)) / len(mine))
    shares = [value / (sum(worth) + 1e-6) for value in worth]
    granted = [math.floor(share * keep) for share in shares]
    for run in sorted(range(len(shares)), key=lambda run: -shares[run])[: keep - sum(granted)]:
        granted[run] += 1
    granted = [min(count, len(part)) for count, part in zip(granted, members, strict=True)]
    filled = list(granted)
    while sum(filled) < keep:
        room = [run for run, part in enumerate(members) if filled[run] < len(part)]
        filled[max(room, key=lambda run: shares[run] / (filled[run] + 1))] += 1
    every, first = (
        sorted(token for part, count in zip(members, counts, strict=True) for token in best_first(scores, part)[:count])
        for counts in (filled, granted)
    )
    return every, first


def _cut(tokens: list[int], runs: int) -> list[list[int]]:
    size, longer = divmod(len(tokens), runs)
    ends = [run * size + min(run, longer) for run in range(runs + 1)]
    return [tokens[start:end] for start, end in pairwise(ends)]


def _diversity(rows: Tensor, token: int, part: list[int]) -> float:
    alike = [0.0 if other == token else cosine(rows, token, other) for other in part]
    others = max(len(part) - 1, 1)
    mean = sum(alike) / others
    return sum((value - mean) ** 2 for value in alike) / others


def otprune(projected: Tensor, keep: int, gamma: float = 0.01) -> list[int]:
    """A fresh determinant for every candidate."""
    rows = projected.double()
    rows = rows / torch.stack([column.norm() for column in rows.T])
    products = rows @ rows.T
    kernel = torch.eye(len(rows), dtype=torch.float64) + gamma * products @ products.T
    picked: list[int] = []
    while len(picked) < keep:
        others = [token for token in range(len(rows)) if token not in picked]
        size = [kernel[[*picked, token]][:, [*picked, token]].logdet().item() for token in others]
        picked.append(others[size.index(max(size))])
    return sorted(picked)
