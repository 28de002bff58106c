"""PruneSID step by step from the paper and the published rounding: slow, obvious, in float64, no shared code."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tests.reference.peers_slow import best_first, cosine


def prunesid(features: Tensor, scores: Tensor | None, keep: int, seed: int | None = 0) -> list[int]:
    """Kept tokens in ascending order; scores: the attention of CLS, None where there is none."""
    tokens = range(len(features))
    if keep >= len(features):
        return list(tokens)
    budget = keep + (scores is not None)
    loads = loadings(features, max(1, int(budget / 4)), seed)
    if scores is None:
        scores = loads.amax(1)
    group = loads.argmax(1).tolist()
    limit = threshold(features, budget, budget > keep)
    turns, alive, sizes = [], [], []
    for number in range(loads.shape[1]):
        rest = best_first(scores, [token for token in tokens if group[token] == number])
        sizes.append(len(rest))
        good: list[int] = []
        dropped: list[int] = []
        for token in rest:
            (dropped if any(cosine(features, token, other) > limit for other in good) else good).append(token)
        turns.append(good + dropped)
        alive.append(len(good))
    shares = quotas(sizes, alive, budget, keep)
    return sorted(token for turn, share in zip(turns, shares, strict=True) for token in turn[:share])


def loadings(features: Tensor, groups: int, seed: int | None) -> Tensor:
    """(tokens, groups), without sign; seed None: exact."""
    table = torch.sigmoid(features.double()).T
    table = table - table.mean(0)
    groups = min(groups, *table.shape)
    if seed is None:
        values, vectors = torch.linalg.eigh(table.T @ table)
        return vectors[:, values.argsort(descending=True)[:groups]].abs()
    drawn = torch.randn(min(table.shape), groups, generator=torch.Generator().manual_seed(seed)).double()
    matrix = table if table.shape[0] >= table.shape[1] else table.T
    twice = matrix @ matrix.T
    span = torch.linalg.svd(twice @ twice @ matrix @ drawn, full_matrices=False).U  # of any basis: the same subspace
    inside = span @ span.T @ matrix
    left, _, right = torch.linalg.svd(inside, full_matrices=False)
    return (right[:groups].T if matrix is table else left[:, :groups]).abs()


def threshold(features: Tensor, budget: int, has_cls: bool) -> float:
    tokens = len(features)
    pairs = [cosine(features, i, j) for i in range(tokens) for j in range(i)]
    if has_cls:
        return budget / 32 * sum(pairs) / max(len(pairs), 1)
    return max(18 * budget / tokens, 1) * (sum(pairs) + tokens) / tokens**2


def quotas(sizes: list[int], alive: list[int], budget: int, keep: int) -> list[int]:
    """How many tokens each group gives."""
    low = [min(1, size) for size in sizes]
    high = [min(5 * math.ceil(budget / 64), size, good) for size, good in zip(sizes, alive, strict=True)]
    while sum(high) < budget:
        high = [min(most + 1, size) for most, size in zip(high, sizes, strict=True)]
    free, before, so_far, given = max(0, keep - sum(low)), 0, 0, []
    for least, most, good in zip(low, high, alive, strict=True):
        so_far += good
        end = round(so_far / sum(alive) * free)
        given.append(min(end - before + least, most))
        before = end
    for number in sorted(range(len(sizes)), key=lambda number: -alive[number]):
        given[number] += min(high[number] - given[number], max(0, free + sum(low) - sum(given)))
    return given
