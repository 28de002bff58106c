"""A KV cache that reports logical lengths: callers always see the full length, whatever its layers hold.

So transformers' own masks, positions, multi-turn slicing, beam search and streaming work without knowing of any cut.
"""

from __future__ import annotations

from functools import cache as memoize
from typing import Any

import torch
from torch import Tensor

from vscan_core.engine.segments import Scope, Segments
from vscan_core.versions import check_static, counting_layer, is_static


class _LogicalLengths:
    """Mixed into a transformers cache: lengths are logical, rows of the segments follow the cache's rows."""

    segments: Segments

    def get_seq_length(self, layer_idx: int = 0) -> int:
        layer_idx = counting_layer(self, layer_idx)
        length: int = super().get_seq_length(layer_idx)  # type: ignore[misc]
        return length + self.segments.at(layer_idx).dropped

    def get_query_offset(self, layer_idx: int = 0) -> int:
        return self.get_seq_length(layer_idx)

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        layer_idx = counting_layer(self, layer_idx)
        length, offset = super().get_mask_sizes(query_length, layer_idx)  # type: ignore[misc]
        return length, offset + self.segments.at(layer_idx).dropped

    def update(self, key: Tensor, value: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        if not self.segments.owner.active:
            raise RuntimeError(
                "this KV cache was filled inside a `with reduced(...)` that has been left; use it inside that `with`"
            )
        return super().update(key, value, layer_idx, *args, **kwargs)  # type: ignore[misc]

    def crop(self, tokens_to_remove: int) -> None:
        self.segments.check_crop(abs(tokens_to_remove))
        super().crop(tokens_to_remove)  # type: ignore[misc]
        for segment in self.segments.list:
            segment.crop(abs(tokens_to_remove))

    def reset(self) -> None:
        super().reset()  # type: ignore[misc]
        self.segments = self.segments.anew([segment.start for segment in self.segments.list], self.segments.owner)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        super().reorder_cache(beam_idx)  # type: ignore[misc]
        self._pick_rows(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)  # type: ignore[misc]
        self._pick_rows(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)  # type: ignore[misc]
        rows = next((s.valid.shape[0] for s in self.segments.list if s.valid is not None), None)
        rows = rows or next((s.shift.shape[0] for s in self.segments.list if isinstance(s.shift, Tensor)), 1)
        self._pick_rows(torch.arange(rows).repeat_interleave(repeats))

    def _pick_rows(self, index: Tensor) -> None:
        for segment in self.segments.list:
            segment.pick_rows(index)


class _StaticLengths(_LogicalLengths):
    """The same for a static cache, whose masks count the physical tokens of a layer."""

    layers: list[Any]

    def get_query_offset(self, layer_idx: int = 0) -> int:
        offset: int = self.layers[layer_idx].get_seq_length()
        return offset

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        sizes: tuple[int, int] = self.layers[layer_idx].get_mask_sizes(query_length)
        return sizes


@memoize
def _logical(cls: type, static: bool) -> type:
    return type(f"Logical{cls.__name__}", (_StaticLengths if static else _LogicalLengths, cls), {})


def segments_of(cache: Any, starts: list[int], owner: Scope) -> Segments:
    """The segments of a transformers cache; at first use, its class is changed so that it reports logical lengths.

    starts: the first layer of each segment. Raises InputError for a static cache that cannot be shortened.
    """
    known: Segments | None = getattr(cache, "segments", None)
    if known is None:
        static = is_static(cache)
        if static:
            check_static(cache)
        cache.segments = Segments(starts, owner, cache.layers[0].max_cache_len if static else None)
        for segment in cache.segments.list:
            segment.length = int(cache.get_seq_length())  # of earlier turns, which nothing shortened
        cache.__class__ = _logical(type(cache), static)  # type: ignore[arg-type]
    elif not known.owner.active and known.logical == 0:  # emptied by `reset`
        cache.segments = known.anew(starts, owner)
    segments: Segments = cache.segments
    return segments


def tokens_in(cache: Any) -> int:
    """Logical tokens per row of a cache, None: 0; one that `segments_of` knows does not make the host wait."""
    if cache is None:
        return 0
    segments: Segments | None = getattr(cache, "segments", None)
    return int(cache.get_seq_length()) if segments is None or segments.capacity is None else segments.logical


def positions_after(cache: Any, length: int, device: torch.device) -> Tensor:
    """(1, length) positions of the tokens that follow those in a cache; a static one counts on the device."""
    start = cache.get_seq_length() if tokens_in(cache) else 0
    if isinstance(start, Tensor):
        return torch.arange(length, device=device)[None] + start.to(device)
    return torch.arange(start, start + length, device=device)[None]
