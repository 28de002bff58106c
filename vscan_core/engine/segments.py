"""Segments: runs of decoder layers between two cuts, and the tokens that each of them holds.

The tokens of a segment are right-aligned in the logical sequence (the one that callers see), as in a sliding-window
layer: key offset = logical - physical.

The layers of a static cache set memory aside for fewer tokens, by as many as the prompt's first call dropped before
them. So shapes stay as they are from step to step, and no step waits for the device or attends to memory that a
dropped token would have had. Masks for such layers count physical tokens, and columns not yet filled are valid in them,
because causality hides these anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from vscan_core.errors import InputError

PADDED_TURN = (
    "rows of different lengths after an earlier turn would leave padding between two turns, which changes the state of "
    "this model's layers without attention; continue each row of the batch in a call of its own"
)
FULL = "this static cache is full; make it as long as the prompt and the answer together, picture tokens included"

IN_PICTURE = (
    "this crop reaches into a picture whose tokens were reduced, and the KV cache no longer holds them one by one; "
    "remove fewer tokens, or prefill again with an empty cache"
)


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
    valid: Tensor | None = None  # (batch, length or capacity) bool, False = padding; None = no padding
    shift: Tensor | int = 0  # (batch, 1): how far renumbered positions are below the caller's
    capacity: int | None = None  # physical tokens that its layers have memory for; None = they grow

    def extend(self, count: int, logical: int, valid: Tensor | None, batch: int, device: torch.device) -> None:
        """Add a call: `count` of its `logical` tokens per row entered here; valid (batch, count), False: padding.

        Raises InputError if a static cache is full.
        """
        if self.capacity is not None:
            self.capacity -= logical - count if self.length == 0 else 0
            if self.length + count > self.capacity:
                raise InputError(FULL)
        if valid is not None or (self.valid is not None and self.capacity is None):
            old = self.valid[:, : self.length] if self.valid is not None else _ones(batch, self.length, device)
            new = valid if valid is not None else _ones(batch, count, device)
            self.valid = torch.cat([old, new, _ones(batch, self._free(count), device)], dim=1)
        self.length += count
        self.dropped += logical - count

    def _free(self, count: int = 0) -> int:
        return 0 if self.capacity is None else self.capacity - self.length - count

    def mask(self) -> Tensor | None:
        """(batch, logical length or capacity) mask for transformers; None if there is no padding."""
        if self.valid is None or self.capacity is not None:
            return self.valid
        return torch.nn.functional.pad(self.valid, (self.dropped, 0))

    def crop(self, tokens: int) -> None:
        """Forget the last `tokens` tokens (rejected drafts)."""
        self.length -= tokens
        if self.valid is not None:
            kept = self.valid[:, : self.length]
            self.valid = torch.cat([kept, _ones(len(kept), self._free(), kept.device)], dim=1)

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


def padding_mask(segment: Segment, cached: bool, valid: Tensor | None, hidden: Tensor) -> Tensor | None:
    """The mask from which transformers makes that of a segment's layers, in which hidden (batch, length, dim) enters.

    cached: whether there is a KV cache; valid (batch, length): False for padding.
    """
    if cached:
        return segment.mask()
    if valid is not None:
        return valid
    # explicit: without a cache, gaps in position ids would look like packed sequences
    return torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)


def moved(value: Any, device: torch.device) -> Any:
    """Tensors, also inside dicts, lists and tuples, on `device`; anything else as it is."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: moved(one, device) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(moved(one, device) for one in value)
    return value


def _ones(batch: int, length: int, device: torch.device) -> Tensor:
    return torch.ones(batch, length, dtype=torch.bool, device=device)


class Segments:
    """The segments of one cache, first to last; tied to the `with` in which the cache was filled."""

    def __init__(self, starts: list[int], owner: Scope, capacity: int | None = None) -> None:
        self.list = [Segment(start, capacity=capacity) for start in starts]
        self.owner, self.capacity = owner, capacity  # logical tokens that a static cache has memory for
        # of the latest call with pictures: logical tokens before it, and which of its own (batch, length) are visual
        self.pictures: tuple[int, Tensor] | None = None

    def anew(self, starts: list[int], owner: Scope) -> Segments:
        """Those of an empty cache of the same capacity."""
        return Segments(starts, owner, self.capacity)

    @property
    def logical(self) -> int:
        """Tokens per row as the caller counts them; known to the host also where the cache's lengths are not."""
        return self.list[0].length + self.list[0].dropped

    def check_crop(self, tokens: int) -> None:
        """Raise InputError if forgetting the last `tokens` tokens would need to know which visual tokens these are."""
        if self.pictures is None or not any(segment.dropped for segment in self.list):
            return
        before, visual = self.pictures
        if self.logical - tokens < before + 1 + int(visual.any(0).nonzero()[-1]):
            raise InputError(IN_PICTURE)

    def at(self, layer: int) -> Segment:
        """The segment that decoder layer `layer` belongs to."""
        return next(segment for segment in reversed(self.list) if segment.start <= layer)

    def fit(self, cache: Any, segment: Segment) -> None:
        """Set memory aside for `segment.capacity` tokens in its layers of a static cache."""
        later = [one.start for one in self.list if one.start > segment.start]
        for layer in cache.layers[segment.start : min(later, default=None)]:
            if layer.max_cache_len != segment.capacity:
                layer.max_cache_len = segment.capacity
                if layer.is_initialized:
                    layer.lazy_initialization(layer.keys[:, :, :0], layer.values[:, :, :0])

    def __deepcopy__(self, memo: dict[int, Any]) -> Segments:
        twin = self.anew([segment.start for segment in self.list], self.owner)
        for mine, theirs in zip(self.list, twin.list, strict=True):
            theirs.__dict__.update(mine.__dict__)  # tensors are replaced, never written to
        twin.pictures = self.pictures
        return twin
