"""In a worker: rows and attention received of vLLM's tower for Qwen2.5-VL or Qwen3-VL, in one run for several items."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import Tensor
from vllm.distributed import tensor_model_parallel_all_reduce

from vscan_core.families.scores import received
from vscan_core.selection import Needs


def look_at(
    tower: Any, pixels: Tensor, grids: Sequence[tuple[int, int, int]], needs: Needs
) -> tuple[Tensor, dict[int, Tensor]]:
    """(tokens, features) of all items, one after another, row-major, and {vision layer: (tokens,)} attention received.

    grids: frames, rows and columns of patches of each item. With tensor parallelism every rank has some of the heads;
    what is recorded is summed over all of them, on every rank.
    """
    metadata = tower.prepare_encoder_metadata([list(grid) for grid in grids])
    found: dict[int, Tensor] = {}
    calls: dict[int, Any] = {}

    def store(layer: int, module: Any, args: Any, kwargs: Any) -> None:
        calls[layer] = kwargs

    def score(layer: int, module: Any, args: Any, out: Any) -> None:
        attention, call = tower.blocks[layer].attn, calls.pop(layer)
        heads = attention.num_attention_heads_per_partition
        both = out[0].view(len(out[0]), 3, heads, -1)[:, :2].transpose(0, 1).contiguous()  # queries, then keys
        rotated = attention.apply_rotary_emb(both, call["rotary_pos_emb_cos"], call["rotary_pos_emb_sin"])
        bounds, scaling = call["cu_seqlens"].tolist(), attention.hidden_size_per_attention_head**-0.5
        of_patches = received(rotated[0], rotated[1], bounds, scaling)
        of_tokens = of_patches.view(-1, tower.spatial_merge_unit).mean(1)
        if "reverse_indices" in metadata:  # patches are in the order of the windows
            of_tokens = of_tokens[metadata["reverse_indices"]]
        found[layer] = tensor_model_parallel_all_reduce(of_tokens) if attention.tp_size > 1 else of_tokens

    with ExitStack() as undo:
        for layer in {*needs.cls_attention, *needs.received}:
            attention = tower.blocks[layer].attn
            undo.callback(attention.register_forward_pre_hook(partial(store, layer), with_kwargs=True).remove)
            undo.callback(attention.qkv.register_forward_hook(partial(score, layer)).remove)
        rows = tower(pixels, None, encoder_metadata=metadata)
    return rows, found
