"""What the vision encoder gave for recent pixels, so that the same picture is not encoded twice."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from vscan_core.engine.shared_vision import SharedVision
from vscan_core.selection import Needs

LIMIT_BYTES = 256 * 2**20


class VisionCache:
    """The most recently used runs of one model's vision encoder, up to `limit` bytes on its device."""

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self.limit = limit
        self.encodings = 0  # how many runs it has been given so far
        # whether the picture of a run is unlike those the model was trained on, once that has been looked at
        self.out_of_distribution: MutableMapping[SharedVision, bool] = WeakKeyDictionary()
        self._runs: OrderedDict[str, SharedVision] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> SharedVision | None:
        """The run for these pixels, whatever signals it has."""
        with self._lock:
            if key in self._runs:
                self._runs.move_to_end(key)
            return self._runs.get(key)

    def put(self, key: str, run: SharedVision) -> None:
        """Keep a run; the least recently used ones go until the rest fits, and one that is too large is not kept."""
        with self._lock:
            self.encodings += 1
            self._runs[key] = run
            self._runs.move_to_end(key)
            while self._runs and sum(kept.nbytes for kept in self._runs.values()) > self.limit:
                self._runs.popitem(last=False)

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._runs.clear()

    def __len__(self) -> int:
        return len(self._runs)


def pixel_digest(inputs: Mapping[str, Any]) -> str:
    """A hash of the tensors among a processor's image inputs: names, types, shapes and values."""
    found = hashlib.blake2b(digest_size=16)
    for name, value in sorted(inputs.items()):
        if isinstance(value, Tensor):
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def union(needs: list[Needs]) -> Needs:
    """Every signal that any of them names, but for the blocks: who changes the encoder cannot share it."""
    together = Needs()
    for one in needs:
        if not one.blocks:
            together |= one
    return together
