"""Tables that depend on a model and on sizes alone: made once, kept with the model, forgotten with it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

MOST = 32  # tables of one kind and one model; then all are forgotten


class Remembered:
    """Tables of one kind. What is remembered is shared by all callers, so it is never written to."""

    def __init__(self) -> None:
        self._tables: WeakKeyDictionary[nn.Module, dict[Hashable, Any]] = WeakKeyDictionary()

    def get(self, module: nn.Module, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make()` returned for this module and key; it is called at first, outside of inference mode."""
        known = self._tables.setdefault(module, {})
        if (found := known.get(key)) is None:
            if len(known) >= MOST:
                known.clear()
            with torch.inference_mode(False), torch.no_grad():
                found = known[key] = make()
        return found
