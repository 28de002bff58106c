"""ToMe once more, token by token from its paper: lists of patches, one image at a time, no hooks, no shared code."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def pairs(keys: Tensor, drop: int, cls: bool) -> dict[int, int]:
    """{even token: odd token that it merges into}, `drop` of them."""
    best = {}
    for one in range(int(cls) * 2, len(keys), 2):
        near = {
            other: round(torch.cosine_similarity(keys[one].double(), keys[other].double(), dim=0).item(), 9)
            for other in range(1, len(keys), 2)
        }
        if near:
            other = max(near, key=lambda odd: near[odd])
            best[one] = (near[other], other)
    chosen = sorted(best, key=lambda one: -best[one][0])[:drop]
    return {one: best[one][1] for one in chosen}


def merge(rows: Tensor, members: list[list[int]], into: dict[int, int]) -> tuple[Tensor, list[list[int]]]:
    """Rows and members after merging: the even ones that stayed, then the odd ones."""
    total = [row.double() * len(own) for row, own in zip(rows, members, strict=True)]
    members = [list(own) for own in members]
    for one, other in into.items():
        total[other] = total[other] + total[one]
        members[other] += members[one]
    order = [token for token in range(0, len(rows), 2) if token not in into] + list(range(1, len(rows), 2))
    out = torch.stack([total[token] / len(members[token]) for token in order]).to(rows.dtype)
    return out, [members[token] for token in order]


def steps(tokens: int, keep: int, blocks: int) -> list[int]:
    """As equal as whole numbers allow, larger ones first; for budgets where no block is asked for more than half."""
    total = tokens - keep
    return [total // blocks + (number < total % blocks) for number in range(blocks)]


def on_tensors(keys: Tensor, keep: int, blocks: int) -> list[list[int]]:
    """Groups of tokens, when every block has the same keys."""
    members = [[token] for token in range(len(keys))]
    for drop in steps(len(keys), keep, blocks):
        keys, members = merge(keys, members, pairs(keys, drop, cls=False))
    return sorted(sorted(own) for own in members)


def tower(model, pixels: Tensor, keep: int, weigh: bool = True) -> tuple[list[int], Tensor]:
    """First patch and vision features of every group, for one image (3, height, width)."""
    clip = model.model.vision_tower
    hidden = clip.pre_layrnorm(clip.embeddings(pixels[None]))[0]
    members = [[token - 1] for token in range(len(hidden))]  # CLS is -1
    blocks = clip.encoder.layers[:-1]
    for block, drop in zip(blocks, steps(len(hidden) - 1, keep, len(blocks)), strict=True):
        attn, normed = block.self_attn, block.layer_norm1(hidden)
        split = [part(normed).view(len(hidden), attn.num_heads, -1) for part in (attn.q_proj, attn.k_proj, attn.v_proj)]
        size = torch.tensor([float(len(own)) for own in members])
        mixed = []
        for head in range(attn.num_heads):
            query, key, value = (part[:, head] for part in split)
            logits = query @ key.T / math.sqrt(key.shape[1])
            mixed.append((logits + size.log() if weigh else logits).softmax(-1) @ value)
        hidden = hidden + attn.out_proj(torch.cat(mixed, dim=-1))
        hidden, members = merge(hidden, members, pairs(split[1].mean(1), drop, cls=True))
        hidden = hidden + block.mlp(block.layer_norm2(hidden))
    groups = sorted((min(own), row) for row, own in enumerate(members) if own != [-1])
    return [first for first, _ in groups], hidden[[row for _, row in groups]]
