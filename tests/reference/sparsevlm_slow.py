"""SparseVLM's choices once more, token by token from the paper and its released settings: slow, obvious."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def query_tokens(visual: Tensor, text: Tensor) -> list[int]:
    """Text tokens that the visual tokens choose above average."""
    share = [0.0] * len(text)
    for token in visual:
        odds = [math.exp((token @ word).item()) for word in text]
        share = [total + one / sum(odds) / len(visual) for total, one in zip(share, odds, strict=True)]
    return [word for word, value in enumerate(share) if value > sum(share) / len(share) or value == max(share)]


def split(tokens: int, budget: int) -> int:
    """How many of the budget are recycled: the most others for which the rule gives what is left of it."""
    for kept in range(budget, -1, -1):
        extra = ((tokens - kept) * 3 // 10 + 1) // 10 + 1
        if kept + min(extra, budget // 2) <= budget:
            return budget - kept
    raise AssertionError


def shrink(hidden: Tensor, scores: Tensor, budget: int) -> tuple[list[int], Tensor]:
    """hidden (tokens, dim) -> kept tokens, ascending, and their rows with clusters averaged in."""
    ranked = sorted(range(len(scores)), key=lambda token: -scores[token].item())
    count = split(len(scores), budget)
    members = {token: [token] for token in ranked[: budget - count]}
    dropped = ranked[budget - count :]
    spare = dropped[: len(dropped) * 3 // 10 + 1]
    if count:
        for centre, mine in _clusters(hidden[spare], count):
            members[spare[centre]] = [spare[token] for token in mine]
    kept = sorted(members)
    return kept, torch.stack([hidden[members[token]].mean(0) for token in kept])


def _clusters(rows: Tensor, count: int) -> list[tuple[int, list[int]]]:
    apart = [[(one - other).norm().item() / math.sqrt(len(one)) for other in rows] for one in rows]
    near = [sorted(line)[:count] for line in apart]
    density = [math.exp(-sum(gap**2 for gap in line) / len(line)) for line in near]
    most = max(max(line) for line in apart)
    peak = []
    for one, line in enumerate(apart):
        denser = [gap for other, gap in enumerate(line) if density[other] > density[one]]
        peak.append(min(denser, default=most) * density[one])
    centres = sorted(range(len(rows)), key=lambda token: -peak[token])[:count]
    mine: dict[int, list[int]] = {centre: [centre] for centre in centres}
    for token in range(len(rows)):
        if token not in mine:
            gaps = [apart[centre][token] for centre in centres]
            mine[centres[gaps.index(min(gaps))]].append(token)
    return list(mine.items())
