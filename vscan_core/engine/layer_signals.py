"""What a later cut is told of tokens by the weights of one decoder layer, and by their positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.families.scores import projections

PROJECTED = frozenset({"queries", "llm_keys", "rotated_keys", "values"})  # signals from the weights of a layer
NEARBY = ("text", "front")  # text_values are the `values` of the text behind an image, front_values those before it
FROM_WEIGHTS = PROJECTED | {f"{where}_{name}" for where in NEARBY for name in PROJECTED}


def layer_signals(
    layer: Any,
    hidden: Tensor,
    rotary: tuple[Tensor, Tensor] | None,
    columns: Mapping[str, Tensor | None],
    names: frozenset[str],
) -> dict[str, Tensor]:
    """{signal: (tokens, heads, head_dim)}: those among `names` that the weights of decoder layer `layer` make.

    hidden (length, dim): what enters the layer; rotary: its cos and sin, (length, head_dim) each, None for keys
    without rotation; columns: {beginning of a signal's name: where its tokens are}, such as {"": ..., "text_": ...}.
    """
    found = dict[str, Tensor]()
    for start, index in columns.items():
        wanted = frozenset(name for name in PROJECTED if start + name in names)
        if wanted and index is not None:
            rope = None if rotary is None else (rotary[0][None, index], rotary[1][None, index])
            rows = projections(layer, hidden[index], rope, wanted)
            found |= {start + name: rows[name] for name in wanted}
    return found


def rotary_of_axes(rotary_embedding: Any, like: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """position (tokens, axes) of M-RoPE -> cos and sin, (axes, tokens, head_dim) each: of every axis as if alone.

    In float32 at least; `like`, any tensor of the model, names device and type.
    """
    axes = position.T[-3:]  # transformers may put one of the text in front of them
    cos, sin = rotary_embedding(geometry.precise(like), axes.expand(3, *axes.shape))
    return cos, sin


def rotary_means(cos: Tensor, sin: Tensor) -> Tensor:
    """cos, sin (tokens, head_dim), or (axes, tokens, head_dim) -> (tokens, 2): their means over everything else."""
    means = [geometry.precise(part).mean(-1) for part in (cos, sin)]
    # sorted, so that two tokens that differ in the order of their coordinates get the very same number
    return torch.stack([one.reshape(-1, one.shape[-1]).sort(0).values.mean(0) for one in means], dim=1)
