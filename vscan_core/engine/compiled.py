"""torch.compile and hooks: a model compiled as a whole would skip them, so it runs uncompiled inside `reduced(...)`."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from vscan_core.families import family_of


class _Eager(AbstractContextManager[None]):
    """`force_eager` for the whole process while anyone needs it: compiled code is neither used nor generated."""

    def __init__(self) -> None:
        self._users, self._guard = 0, threading.Lock()
        self._stance: Any = None

    def __enter__(self) -> None:
        with self._guard:
            self._users += 1
            if self._users == 1:
                self._stance = torch.compiler.set_stance("force_eager")

    def __exit__(self, *_: Any) -> None:
        with self._guard:
            self._users -= 1
            if self._users == 0:
                self._stance.__exit__(None, None, None)


_eager = _Eager()


def uncompiled(model: Any) -> AbstractContextManager[None]:
    """A context, reusable and reentrant, in which the hooks on a model's parts run even if the model is compiled.

    Decoder layers that were compiled one by one stay compiled, because their hooks lie outside the compiled part.
    So does flex attention on a GPU, whose scores would otherwise fill the memory. If the whole model is compiled as
    well, a later check finds that hooks did not run.
    """
    family = family_of(model)
    flex = model.device.type == "cuda" and "flex_attention" in family.attention(model).values()
    return nullcontext() if flex or any(_compiled(layer) for layer in family.layers(model)) else _eager


def inner(module: nn.Module) -> nn.Module:
    """The module that torch.compile wrapped, or `module` itself."""
    wrapped: nn.Module = getattr(module, "_orig_mod", module)
    return wrapped


def _compiled(module: nn.Module) -> bool:
    in_place = getattr(module, "_compiled_call_impl", None) is not None
    return in_place or inner(module) is not module
