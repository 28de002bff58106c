"""Logical and physical length: callers always see the full length, each segment of layers holds the tokens left.

A segment is a run of decoder layers between two cuts. Its tokens are right-aligned in the logical sequence, as in a
sliding-window layer: key offset = logical - physical. Because the cache reports logical lengths,
transformers' own masks, positions, multi-turn slicing, beam search and streaming work without knowing of any cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache as memoize
from typing import Any, Protocol

import torch
from torch import Tensor


class Scope(Protocol):
    """What a cache belongs to: a `with reduced(...)`."""

    active: bool  # False once it has been left


def right_align(keep: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor | None]:
    """keep (batch, length) bool -> index (batch, longest) of the kept columns, shorter rows padded on the left,
    and valid (batch, longest) bool, False on that padding; None if no row is padded.

    lengths: how many columns of each row are kept, which the host knows without waiting for the device.
    [[1, 0, 1], [0, 0, 1]] -> index [[0, 2], [1, 2]], valid [[1, 1], [0, 1]].
    """
    index = keep.to(torch.int8).argsort(dim=1, stable=True)[:, keep.shape[1] - max(lengths) :]
    return index, keep.gather(1, index) if min(lengths) < max(lengths) else None


@dataclass
class Segment:
    """The tokens that the layers from `start` up to the next segment hold, over all calls that filled the cache."""

    start: int
    length: int = 0  # physical tokens per row, padding included
    dropped: int = 0  # logical - physical
    valid: Tensor | None = None  # (batch, length) bool, False = padding; None = no padding
    shift: Tensor | int = 0  # (batch, 1): how far renumbered positions are below the caller's

    def extend(self, count: int, logical: int, valid: Tensor | None, batch: int, device: torch.device) -> None:
        """Add a call: `count` of its `logical` tokens per row entered here; valid (batch, count), False: padding."""
        if valid is not None or self.valid is not None:
            old = self.valid if self.valid is not None else _ones(batch, self.length, device)
            new = valid if valid is not None else _ones(batch, count, device)
            self.valid = torch.cat([old, new], dim=1)
        self.length += count
        self.dropped += logical - count

    def mask(self) -> Tensor | None:
        """(batch, logical length) mask for transformers; None if there is no padding."""
        if self.valid is None:
            return None
        return torch.nn.functional.pad(self.valid, (self.dropped, 0))

    def crop(self, tokens: int) -> None:
        """Forget the last `tokens` tokens (rejected drafts)."""
        self.length -= tokens
        if self.valid is not None:
            self.valid = self.valid[:, : self.length]

    def to(self, device: torch.device) -> None:
        """Move to the device of the segment's layers."""
        self.valid = None if self.valid is None else self.valid.to(device)
        self.shift = self.shift.to(device) if isinstance(self.shift, Tensor) else self.shift

    def pick_rows(self, index: Tensor) -> None:
        """Reorder, repeat or remove rows of the batch; index (new rows,)."""
        if self.valid is not None:
            self.valid = self.valid[index.to(self.valid.device)]
        if isinstance(self.shift, Tensor) and self.shift.shape[0] > 1:
            self.shift = self.shift[index.to(self.shift.device)]


def _ones(batch: int, length: int, device: torch.device) -> Tensor:
    return torch.ones(batch, length, dtype=torch.bool, device=device)


class Segments:
    """The segments of one cache, first to last; tied to the `with` in which the cache was filled."""

    def __init__(self, starts: list[int], owner: Scope) -> None:
        self.list = [Segment(start) for start in starts]
        self.owner = owner

    def at(self, layer: int) -> Segment:
        """The segment that decoder layer `layer` belongs to."""
        return next(segment for segment in reversed(self.list) if segment.start <= layer)

    def __deepcopy__(self, memo: dict[int, Any]) -> Segments:
        twin = Segments([segment.start for segment in self.list], self.owner)
        for mine, theirs in zip(self.list, twin.list, strict=True):
            theirs.__dict__.update(mine.__dict__)  # tensors are replaced, never written to
        return twin


class _LogicalLengths:
    """Mixed into a transformers cache: lengths are logical, rows of the segments follow the cache's rows."""

    segments: Segments

    def get_seq_length(self, layer_idx: int = 0) -> int:
        length: int = super().get_seq_length(layer_idx)  # type: ignore[misc]
        return length + self.segments.at(layer_idx).dropped

    def get_query_offset(self, layer_idx: int = 0) -> int:
        return self.get_seq_length(layer_idx)

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        length, offset = super().get_mask_sizes(query_length, layer_idx)  # type: ignore[misc]
        return length, offset + self.segments.at(layer_idx).dropped

    def update(self, key: Tensor, value: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        if not self.segments.owner.active:
            raise RuntimeError(
                "this KV cache was filled inside a `with reduced(...)` that has been left; use it inside that `with`"
            )
        return super().update(key, value, layer_idx, *args, **kwargs)  # type: ignore[misc]

    def crop(self, tokens_to_remove: int) -> None:
        super().crop(tokens_to_remove)  # type: ignore[misc]
        for segment in self.segments.list:
            segment.crop(abs(tokens_to_remove))

    def reset(self) -> None:
        super().reset()  # type: ignore[misc]
        self.segments = Segments([segment.start for segment in self.segments.list], self.segments.owner)

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


@memoize
def _logical(cls: type) -> type:
    return type(f"Logical{cls.__name__}", (_LogicalLengths, cls), {})


def segments_of(cache: Any, starts: list[int], owner: Scope) -> Segments:
    """The segments of a transformers cache; at first use, its class is changed so that it reports logical lengths.

    starts: the first layer of each segment. Raises ValueError for a static cache.
    """
    if not hasattr(cache, "segments"):
        if getattr(cache, "is_compileable", False):
            raise ValueError("a static cache cannot hold layers of different lengths; use the default dynamic cache")
        cache.segments = Segments(starts, owner)
        cache.__class__ = _logical(type(cache))  # type: ignore[arg-type]
    segments: Segments = cache.segments
    return segments
