"""Cut 0 inside the vision encoder: tokens merge between attention and MLP of each block, on unmodified modules.

A block computes h = x + attention(x), then h + mlp(norm(h)). Hooks pass the merged h to the norm, store the merged h
plus the MLP's result, replace the latter by a zero so that the block's own sum still has matching shapes, and return
what was stored as the block's output. The next block adds the logarithm of the token sizes to its attention logits
(proportional attention: Token Merging, arXiv 2210.09461).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vscan_core import geometry
from vscan_core.engine.encoded import MergeState
from vscan_core.engine.state import Current, State, Timed
from vscan_core.families.base import Family
from vscan_core.families.method_hook import Removable
from vscan_core.families.scores import mean_keys
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy, Selection


class EncoderMerge:
    """Hooks on the blocks of the encoder, up to the one whose output the LLM sees."""

    def __init__(self, model: nn.Module, family: Family, reducer: Reducer, anatomy: Anatomy) -> None:
        self.model, self.family, self.reducer, self.anatomy = model, family, reducer, anatomy
        self.blocks = list(family.encoder_blocks(model))[: anatomy.feature_layer + 1]

    def start(self, state: State, device: torch.device) -> None:
        """Begin a run of the encoder, which is on `device`."""
        tokens, tiles = state.tiles.sizes[0], len(state.tiles.sizes)
        keep = self.reducer.at_entrance(tokens, self.anatomy)
        state.merge_state = None
        if keep is not None:
            size = torch.ones(tiles, tokens + 1, device=device)
            group = torch.arange(tokens + 1, device=device).expand(tiles, -1)
            state.merge_state = MergeState(self.reducer.drops(tokens, keep, len(self.blocks)), size, group)

    def hooks(self, current: Current, timed: Timed) -> list[Removable]:
        """Register; `current()` gives the calling thread's state, or None if this call is not ours."""
        blocks = enumerate(self.blocks)
        return [handle for number, block in blocks for handle in self._block(number, block, current, timed)]

    def _block(self, number: int, block: Any, current: Current, timed: Timed) -> list[Removable]:
        def run() -> MergeState | None:
            state = current()
            return None if state is None else state.merge_state

        def weigh(module: nn.Module, args: Any, kwargs: Any = None) -> Any:  # None while torch removes it
            if (now := run()) is None or number == 0:
                return None
            with timed():
                bias = now.size.log().to(args[0].dtype)[:, None, None, :]
            return (args[0], bias), {name: value for name, value in kwargs.items() if name != "attention_mask"}

        def keep_keys(module: nn.Module, args: Any, out: Tensor) -> None:
            if (now := run()) is not None and now.drops[number]:
                with timed():
                    now.keys = mean_keys(out, block.self_attn.num_heads, first=0)

        def shorten(module: nn.Module, args: Any) -> Any:
            if (now := run()) is None or now.keys is None:
                return None
            with timed():
                drop = now.drops[number]
                place = self.reducer.partners(now.keys, drop, first_stays=True)
                now.hidden, now.size = geometry.pool(args[0], now.size, place, place.shape[1] - drop)
                now.group, now.keys = place.gather(1, now.group), None
            return (now.hidden,)

        def put_aside(module: nn.Module, args: Any, out: Tensor) -> Any:
            if (now := run()) is None or now.hidden is None:
                return None
            now.out, now.hidden = now.hidden + out, None  # in place of the block's own sum
            with timed():
                return out.new_zeros(1, 1, 1)

        def leave(module: nn.Module, args: Any, out: Tensor) -> Any:
            if (now := run()) is None or now.out is None:
                return None
            short, now.out = now.out, None
            return short

        return [
            block.register_forward_pre_hook(weigh, with_kwargs=True),
            block.self_attn.k_proj.register_forward_hook(keep_keys),
            block.layer_norm2.register_forward_pre_hook(shorten),
            block.mlp.register_forward_hook(put_aside),
            block.register_forward_hook(leave, prepend=True),  # before the one that records hidden states
        ]


def finish(now: MergeState, features: Tensor, regions: Sequence[Tensor | None]) -> tuple[list[Selection], list[Tensor]]:
    """The selection of each tile, and its rows of features (tiles, kept, dim), reordered to match `Selection.kept`.

    regions: the tokens of each tile that are no padding; None: all.
    """
    count = features.shape[1]
    chosen = [Selection.groups(group[1:] - 1, count, one) for group, one in zip(now.group, regions, strict=True)]
    rows = [row[group[1:][one.kept] - 1] for row, group, one in zip(features, now.group, chosen, strict=True)]
    return chosen, rows
