"""IVC-Prune once more, token by token from its paper and released code: slow, obvious, no shared code, in float64.

Values are (tokens, heads, head_dim); `places` holds the mean cosine and the mean sine of every token's position.
Both return the kept tokens in ascending order.
"""

from __future__ import annotations

import math

from torch import Tensor

from tests.reference.peers_slow import best_first


def means(rows: Tensor, among: Tensor) -> Tensor:
    """(tokens,) what a row gives to each of `among` on average over rows and heads; each gives 1 in all."""
    given = among.double().new_zeros(len(among))
    for row in rows.double():
        for head in range(rows.shape[1]):
            weights = (among[:, head].double() @ row[head] / math.sqrt(rows.shape[2])).exp()
            given += weights / weights.sum()
    return given / len(rows) / rows.shape[1]


def foreground(values: Tensor, question: Tensor, among: Tensor, seeds: int) -> tuple[list[int], Tensor]:
    """The tokens most like the question, and how much each token is like the question and these together."""
    tokens = list(range(len(values)))
    best = best_first(means(question, among), tokens)[:seeds]
    return best, means(question.new_tensor([*question.tolist(), *values[best].tolist()]), among)


def ivcprune(values: Tensor, question: Tensor, places: Tensor, keep: int) -> list[int]:
    """A fifth of the budget by cosine, a fifth by sine and a fiftieth seeds, then the best of the others."""
    tokens = list(range(len(values)))
    seeds, scores = foreground(values, question, values, max(1, round(keep / 50)))
    kept = set(seeds)
    for part in places.T:
        kept |= set(best_first(part, tokens)[: round(keep / 5)])
    rest = best_first(scores, [token for token in tokens if token not in kept])
    return sorted([*kept, *rest[: keep - len(kept)]])


def released_ivcprune(values: Tensor, text: Tensor, front: Tensor, places: Tensor, skip: int) -> list[int]:
    """Whatever is among the best by one of four rules; the softmax runs over all there is, in its order."""
    tokens = list(range(len(values)))
    among = values.new_tensor([*values.tolist(), *front.tolist(), *text.tolist()])
    seeds, scores = foreground(values, text[skip:], among, max(1, round(len(tokens) / 100)))
    kept = {*seeds, *best_first(scores, tokens)[: round(len(tokens) / 5)]}
    for part in places.T:
        kept |= set(best_first(part, tokens)[: round(len(tokens) / 20)])
    return sorted(kept)
