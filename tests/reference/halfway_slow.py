"""HiPrune and DART once more, token by token from their papers: slow, obvious, no shared code, in float64.

Both return the kept tokens in ascending order; the second value stands for the rows of merging methods: there are none.
"""

from __future__ import annotations

from torch import Tensor

from tests.reference.peers_slow import best_first, cosine


def hiprune(middle: Tensor, deep: Tensor, cols: int, keep: int, alpha: float = 0.1) -> tuple[list[int], None]:
    """Anchors, then their neighbours inside the picture as long as there is room, then the best of the deep layer."""
    tokens = list(range(len(middle)))
    anchors = best_first(middle, tokens)[: round(keep * alpha / 5)]
    near = list(anchors)
    for anchor in anchors:
        row, col = anchor // cols, anchor % cols
        for beside in ((row, col - 1), (row, col + 1), (row - 1, col), (row + 1, col)):
            token = beside[0] * cols + beside[1]
            if 0 <= beside[1] < cols and 0 <= beside[0] < len(tokens) // cols and token not in near:
                near.append(token)
    near = near[:keep]
    rest = best_first(deep, [token for token in tokens if token not in near])
    return sorted(near + rest[: keep - len(near)]), None


def dart(
    keys: Tensor, states: Tensor, text_keys: Tensor, text_states: Tensor, keep: int, pivots: tuple[int, int] = (4, 4)
) -> tuple[list[int], None]:
    """Every pivot takes the same number of the tokens least like it; one more if some are left over, the first ones."""
    size = [sum(abs(number) for number in key.double().flatten().tolist()) for key in [*keys, *text_keys]]
    tokens = list(range(len(keys)))
    own = sorted(tokens, key=lambda token: -size[token])[: min(pivots[0], keep)]
    words = sorted(range(len(tokens), len(size)), key=lambda token: -size[token])[: pivots[1]]
    rows = [*states, *text_states]
    kept = list(own)
    for number, pivot in enumerate(own + words):
        left = keep - len(own)
        share = left // len(own + words) + (number < left % len(own + words))
        free = [token for token in tokens if token not in kept]
        kept += sorted(free, key=lambda token: cosine([rows[pivot], rows[token]], 0, 1))[:share]
    return sorted(kept), None
