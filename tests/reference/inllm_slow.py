"""Methods inside the LLM that read no attention row, token by token from their papers: slow, obvious, in float64.

Every function returns the kept tokens in ascending order and, where tokens are merged, a row for each (else None).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tests.reference.peers_slow import best_first, cosine


def greedyprune(hidden: Tensor, question: Tensor, keep: int, threshold: float = 0.9) -> tuple[list[int], None]:
    """The next salient token comes in if it is like none before it; then those that were left out, best first."""
    fit = torch.tensor([cosine(torch.stack([row, question]), 0, 1) for row in hidden])
    ranked = best_first(fit, list(range(len(hidden))))
    picked: list[int] = []
    for token in ranked:
        if len(picked) < keep and all(cosine(hidden, token, other) <= threshold for other in picked):
            picked.append(token)
    picked += [token for token in ranked if token not in picked][: keep - len(picked)]
    return sorted(picked), None


def topv(entered: Tensor, attended: Tensor, places: list[tuple[float, float]], keep: int) -> tuple[list[int], None]:
    """Every target gets 1 in all, from sources in proportion to exp(-cost / .1); sources that give most stay."""
    tokens = range(len(entered))
    centre = [(min(p[axis] for p in places) + max(p[axis] for p in places)) / 2 for axis in (0, 1)]
    feature = [[(one.double() - other.double()).norm().item() for other in attended] for one in entered]
    apart = [[1 - math.exp(-(math.dist(one, other) ** 2) / (2 * 0.4**2)) for other in places] for one in places]
    off = [math.dist(place, centre) for place in places]
    most = [max(max(row) for row in feature) or 1, max(max(row) for row in apart) or 1, max(off) or 1]
    plan = [
        [math.exp(-(feature[i][j] / most[0] + apart[i][j] / most[1] + 0.01 * off[i] / most[2]) / 0.1) for j in tokens]
        for i in tokens
    ]
    column = [sum(row[j] for row in plan) for j in tokens]
    plan = [[row[j] / column[j] for j in tokens] for row in plan]
    ranked = best_first(torch.tensor([sum(row) for row in plan], dtype=torch.float64), list(tokens))
    back = int(keep * 0.25)
    best, dropped = ranked[: keep - back], sorted(ranked[keep - back :])
    spaced = [dropped[(2 * number + 1) * len(dropped) // (2 * back)] for number in range(back)]
    return sorted(best + spaced), None


def pact(
    queries: Tensor, llm_keys: Tensor, rotated_keys: Tensor, hidden: Tensor, keep: int, share: float, cutoff: float
) -> tuple[list[int], Tensor]:
    """Important tokens, clustered by their keys: densest first, a centre is farther than the cutoff from all before."""
    tokens, heads = range(len(queries)), queries.shape[1]
    score = torch.zeros(len(queries), dtype=torch.float64)
    for head in range(heads):
        key, mean = llm_keys[:, head * llm_keys.shape[1] // heads].double(), queries[:, head].double().mean(0)
        score += torch.stack([key[i] @ mean / math.sqrt(len(mean)) for i in tokens]).softmax(0) / heads
    score *= torch.stack([row.double().norm() for row in hidden])
    important = sorted(best_first(score, list(tokens))[: max(keep, int(share * len(queries)))])
    flat = rotated_keys.flatten(1)
    apart = [[max(0.0, 1 - cosine(flat, i, j)) for j in tokens] for i in tokens]
    density = torch.zeros(len(queries), dtype=torch.float64)
    for i in important:
        density[i] = sum(math.exp(-((apart[i][j] / 2) ** 2)) for j in important)
    centres: list[int] = []
    for token in best_first(density, important):
        if len(centres) < keep and all(apart[token][centre] > cutoff for centre in centres):
            centres.append(token)
    centres += [token for token in best_first(score, important) if token not in centres][: keep - len(centres)]
    members = {centre: [centre] for centre in sorted(centres)}
    for token in tokens:
        if token not in members:
            gaps = [apart[token][centre] for centre in members]
            if min(gaps) <= 1.5 * cutoff:
                members[list(members)[gaps.index(min(gaps))]].append(token)
    return list(members), torch.stack([hidden[group].mean(0) for group in members.values()])
