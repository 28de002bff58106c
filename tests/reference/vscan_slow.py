"""VScan's two choices, written from the paper's text token by token: slow, obvious, no shared code."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cls_attention(model, pixels: Tensor, layer: int) -> Tensor:
    """(images, tokens): head-averaged attention of CLS to the patches, from a full eager attention map."""
    return attention_maps(model, pixels, layer)[:, 0, 1:]


def received(model, pixels: Tensor, layer: int) -> Tensor:
    """(images, tokens): head-averaged attention that the patches receive, averaged over CLS and all patches."""
    return attention_maps(model, pixels, layer).mean(1)[:, 1:]


def attention_maps(model, pixels: Tensor, layer: int) -> Tensor:
    """(images, 1 + tokens, 1 + tokens): head-averaged attention of every row, CLS first, to every column."""
    tower = model.model.vision_tower
    states = tower(pixels, output_hidden_states=True).hidden_states[layer]
    block = tower.encoder.layers[layer]
    normed = block.layer_norm1(states)
    heads = block.self_attn.num_heads
    out = []
    for image in normed:
        query, key = block.self_attn.q_proj(image), block.self_attn.k_proj(image)
        size = query.shape[-1] // heads
        maps = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            maps.append(torch.softmax(query[:, part] @ key[:, part].T / math.sqrt(size), dim=-1))
        out.append(torch.stack(maps).mean(0))
    return torch.stack(out)


def choose(local_scores: Tensor, global_scores: Tensor, side: int, window: int, keep: int) -> list[int]:
    """Kept tokens of one image on a side x side grid that `window` divides; local half first, refilled."""
    budget = keep // 2
    groups: dict[tuple[int, int], list[int]] = {}
    for token in range(side * side):
        groups.setdefault((token // side // window, token % side // window), []).append(token)
    ranked = [sorted(group, key=lambda token: -local_scores[token].item()) for group in groups.values()]
    share = budget // len(ranked)
    local = [token for group in ranked for token in group[:share]]
    spare = [group[share] for group in ranked if len(group) > share]
    spare.sort(key=lambda token: -local_scores[token].item())
    local += spare[: budget - len(local)]
    others = [token for token in range(side * side) if token not in local]
    others.sort(key=lambda token: -global_scores[token].item())
    return sorted(local + others[: keep - len(local)])


def merge(features: Tensor, kept: list[int]) -> Tensor:
    """(tokens, dim) -> (kept, dim): every dropped row averaged into the kept row of the closest direction."""
    members = {token: [features[token]] for token in kept}
    for token in range(len(features)):
        if token not in members:
            similar = [torch.cosine_similarity(features[token], features[k], dim=0).item() for k in kept]
            members[kept[similar.index(max(similar))]].append(features[token])
    return torch.stack([torch.stack(members[token]).mean(0) for token in kept])
