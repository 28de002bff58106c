"""In a worker: features and signals of vLLM's CLIP, in one run for pictures whose methods differ."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor
from vllm.distributed import tensor_model_parallel_all_gather, tensor_model_parallel_all_reduce

from vscan_core.selection import Needs, Signals
from vscan_core.serving import cls_row, mean_keys, received_in_each


@dataclass(frozen=True)
class Seen:
    """What the tower gave for several tiles; every tensor has them as its first axis."""

    features: Tensor  # (tiles, tokens, dim)
    cls_attention: dict[int, Tensor] = field(default_factory=dict)  # {vision layer: (tiles, heads, tokens)}
    received: dict[int, Tensor] = field(default_factory=dict)  # {vision layer: (tiles, tokens)}
    keys: dict[int, Tensor] = field(default_factory=dict)  # {feature layer: (tiles, tokens, head_dim)}

    def signals(self, places: list[int], grid: tuple[int, int]) -> Signals:
        """Those of the tiles at `places`, of `grid` = (rows, cols) tokens."""

        def part(table: dict[int, Tensor]) -> dict[int, Tensor]:
            return {layer: rows[places] for layer, rows in table.items()}

        return Signals(
            features=self.features[places],
            cls_attention=part(self.cls_attention),
            received=part(self.received),
            keys=next(iter(part(self.keys).values()), None),
            grid=grid,
        )


def look(tower: Any, run: Callable[[], Tensor], needs: Needs, feature_layer: int) -> Seen:
    """Run the tower, `run()`, and record what `needs` names.

    With tensor parallelism every rank has some of the heads; what is recorded is of all of them, on every rank.
    """
    layers = tower.vision_model.encoder.layers
    found: dict[str, dict[int, Tensor]] = {"cls_attention": {}, "received": {}, "keys": {}}
    wanted = {
        "cls_attention": (needs.cls_attention, _cls_row),
        "received": (needs.received, _received),
        "keys": ((feature_layer,) if needs.keys else (), _keys),
    }

    def record(name: str, layer: int, compute: Callable[..., Tensor], module: Any, args: Any, out: Any) -> None:
        attention = layers[layer].self_attn
        query, key, _ = out[0].chunk(3, dim=-1)
        found[name][layer] = compute(query, key, attention.num_heads_per_partition, attention.tp_size)

    with ExitStack() as undo:
        for name, (where, compute) in wanted.items():
            for layer in where:
                hook = partial(record, name, layer, compute)
                undo.callback(layers[layer].self_attn.qkv_proj.register_forward_hook(hook).remove)
        features = run()
    return Seen(features, **found)


def _cls_row(query: Tensor, key: Tensor, heads: int, ranks: int) -> Tensor:
    row = cls_row(query[:, :1], key, heads)
    return tensor_model_parallel_all_gather(row.contiguous(), 1) if ranks > 1 else row


def _received(query: Tensor, key: Tensor, heads: int, ranks: int) -> Tensor:
    query, key = (rows.reshape(*rows.shape[:2], heads, -1) for rows in (query, key))
    total = received_in_each(query, key, query.shape[-1] ** -0.5)[:, 1:]
    return tensor_model_parallel_all_reduce(total.contiguous()) if ranks > 1 else total


def _keys(query: Tensor, key: Tensor, heads: int, ranks: int) -> Tensor:
    mean = mean_keys(key, heads)
    return tensor_model_parallel_all_reduce(mean.contiguous()) / ranks if ranks > 1 else mean
