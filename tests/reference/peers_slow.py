"""The peer methods once more, token by token from their papers: slow, obvious, no shared code.

Every function returns the kept tokens in ascending order, and where tokens are mixed also a row for each of them.
Sorting is stable everywhere, so equal scores go to the lowest index.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def best_first(scores: Tensor, tokens: list[int]) -> list[int]:
    return sorted(tokens, key=lambda token: -scores[token].item())


def cosine(rows: Tensor, one: int, other: int) -> float:
    return torch.cosine_similarity(rows[one].double(), rows[other].double(), dim=0).item()


def fastervlm(scores: Tensor, keep: int) -> list[int]:
    return sorted(best_first(scores, list(range(len(scores))))[:keep])


def vispruner(features: Tensor, scores: Tensor, keep: int, share: float = 0.5) -> list[int]:
    ranked = best_first(scores, list(range(len(scores))))
    important, rest = ranked[: int(keep * share)], ranked[int(keep * share) :]
    wanted = keep - len(important)
    while wanted and len(rest) > wanted:
        even, odd = rest[0::2], rest[1::2]
        near = {one: round(max(cosine(features, one, other) for other in odd), 9) for one in even}
        even.sort(key=lambda one: -near[one])
        width = max(8, 8 * len(features) // 576)
        rest = even[min(width, len(rest) - wanted, len(even)) :] + odd
    return sorted(important + (rest if wanted else []))


def visionzip(features: Tensor, keys: Tensor, scores: Tensor, keep: int) -> tuple[list[int], Tensor]:
    contextual = round(keep * 10 / 64)
    dominant = fastervlm(scores, keep - contextual)
    rest = [token for token in range(len(scores)) if token not in dominant]
    members = {token: [token] for token in dominant}
    if contextual:
        targets = rest[:: max(1, len(rest) // contextual)][:contextual]
        members |= {token: [token] for token in targets}
        for token in rest:
            if token not in targets:
                similar = [cosine(keys, token, target) for target in targets]
                members[targets[similar.index(max(similar))]].append(token)
    kept = sorted(members)
    return kept, torch.stack([features[members[token]].mean(0) for token in kept])


def divprune(projected: Tensor, keep: int) -> list[int]:
    """Picks in order."""
    tokens = range(len(projected))
    distance = [[1 - cosine(projected, one, other) for other in tokens] for one in tokens]
    nearest = [min((distance[one][other] for other in tokens if other != one), default=0) for one in tokens]
    picked = [nearest.index(max(nearest))]
    while len(picked) < keep:
        others = [token for token in tokens if token not in picked]
        gaps = [min(distance[token][pick] for pick in picked) for token in others]
        picked.append(others[gaps.index(max(gaps))])
    return picked


def prumerge(features: Tensor, keys: Tensor, scores: Tensor, keep: int) -> tuple[list[int], Tensor]:
    tokens = list(range(len(scores)))
    low, high = _quartile(scores, 0.25), _quartile(scores, 0.75)
    kept = [token for token in best_first(scores, tokens) if scores[token] > high + 1.5 * (high - low)][:keep]
    free, fill = [token for token in tokens if token not in kept], keep - len(kept)
    owed = len(free) // 2  # a token is due whenever the sum of its shares passes a whole one
    for token in free:
        owed += fill
        if owed >= len(free):
            owed -= len(free)
            kept.append(token)
    kept.sort()
    dropped = [token for token in tokens if token not in kept]
    rows = []
    for token in kept:
        near = sorted(dropped, key=lambda other, token=token: -cosine(keys, token, other))[:32]
        weight = scores[[token, *near]]
        rows.append((weight[:, None] * features[[token, *near]]).sum(0) / weight.sum())
    return kept, torch.stack(rows)


def _quartile(scores: Tensor, part: float) -> float:
    values, place = sorted(scores.tolist()), part * (len(scores) - 1)
    below = values[math.floor(place)]
    return below + (values[math.ceil(place)] - below) * (place - math.floor(place))


def trim(features: Tensor, patches: Tensor, text: Tensor, keep: int) -> tuple[list[int], Tensor]:
    aligned = torch.stack([patch @ text[0] for patch in patches])
    best = fastervlm(-aligned, keep - 1)
    dropped = [token for token in range(len(patches)) if token not in best]
    rows = {token: features[token] for token in best} | {dropped[-1]: features[dropped].mean(0)}
    return sorted(rows), torch.stack([rows[token] for token in sorted(rows)])


def cdpruner(projected: Tensor, patches: Tensor, text: Tensor, keep: int) -> list[int]:
    """Greedy log-determinant with a fresh determinant for every candidate."""
    relevance = []
    for patch in patches.double():
        cosines = [torch.cosine_similarity(patch, piece, dim=0).item() for piece in text.double()]
        relevance.append(-sum(cosines) / len(cosines))
    low, high = min(relevance), max(relevance)
    weight = torch.tensor([(value - low + 1e-6) / (high - low + 1e-6) for value in relevance], dtype=torch.float64)
    unit = torch.nn.functional.normalize(projected.double(), dim=-1)
    kernel = weight[:, None] * (unit @ unit.T) * weight[None, :]
    picked: list[int] = []
    while len(picked) < keep:
        others = [token for token in range(len(patches)) if token not in picked]
        size = [kernel[[*picked, token]][:, [*picked, token]].det().item() for token in others]
        picked.append(others[size.index(max(size))])
    return sorted(picked)


def downsample(rows: int, cols: int, features: Tensor, keep: int) -> tuple[list[int], Tensor]:
    """Area by area, in whole steps of a fine ruler on which every border lies."""
    lines = min(max(round((keep * rows / cols) ** 0.5), math.ceil(keep / cols)), rows, keep)
    kept, pieces, done = [], [], 0
    for line in range(lines):
        count = (line + 1) * keep // lines - done
        done += count
        for place in range(count):
            high, wide = rows * lines, cols * count  # a token is `lines` high and `count` wide on the ruler
            total = torch.zeros(features.shape[1], dtype=torch.float64)
            for y in range(line * high // lines, (line + 1) * high // lines):
                for x in range(place * wide // count, (place + 1) * wide // count):
                    total += features[y // lines * cols + x // count]
            pieces.append(total / (rows * cols))
            kept.append(int((line + 0.5) / lines * rows) * cols + int((place + 0.5) / count * cols))
    return kept, torch.stack(pieces).to(features.dtype)


def tokentransforming(
    features: Tensor, scores: Tensor, keep: int, temperature: float = 0.1
) -> tuple[list[int], Tensor]:
    """Token after token hands its shares to the anchors."""
    anchors = fastervlm(scores, keep)
    weight = dict.fromkeys(anchors, 0.0)
    total = {anchor: torch.zeros(features.shape[1], dtype=torch.float64) for anchor in anchors}
    for token, row in enumerate(features.double()):
        force = {anchor: math.exp(cosine(features, anchor, token) / temperature) for anchor in anchors}
        for anchor in anchors:
            share = force[anchor] / sum(force.values())
            weight[anchor] += share
            total[anchor] += share * row
    return anchors, torch.stack([total[anchor] / weight[anchor] for anchor in anchors]).to(features.dtype)
