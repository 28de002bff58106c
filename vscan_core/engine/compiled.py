"""torch.compile and hooks: a model compiled as a whole would skip them, so it runs uncompiled inside `reduced(...)`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from vscan_core.families import family_of
from vscan_core.families.method_hook import Removable

PreHook = Callable[..., Any]  # as torch's register_forward_pre_hook with_kwargs takes it


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


class _Hooked:
    """Replaces the compiled call of a module: hooks first, uncompiled, then the compiled code, as one graph."""

    guard = threading.Lock()

    def __init__(self, module: nn.Module, compiled: Callable[..., Any]) -> None:
        self.module, self.compiled = module, compiled
        self.hooks: list[PreHook] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for hook in tuple(self.hooks):
            if (changed := hook(self.module, args, kwargs)) is not None:
                args, kwargs = changed
        return self.compiled(*args, **kwargs)


class _Hook:
    def __init__(self, module: Any, hook: PreHook) -> None:
        self.module, self.hook = module, hook
        with _Hooked.guard:
            if not isinstance(module._compiled_call_impl, _Hooked):
                module._compiled_call_impl = _Hooked(module, module._compiled_call_impl)
            module._compiled_call_impl.hooks.append(hook)

    def remove(self) -> None:
        with _Hooked.guard:
            hooked = self.module._compiled_call_impl
            hooked.hooks.remove(self.hook)
            if not hooked.hooks:
                self.module._compiled_call_impl = hooked.compiled


def before_compiled(module: nn.Module, hook: PreHook) -> Removable:
    """A pre-hook with kwargs; it lies outside the compiled code also if the module was compiled in place.

    torch would compile its own hooks together with such a module, and break the graph in them.
    """
    if getattr(module, "_compiled_call_impl", None) is not None:
        return _Hook(module, hook)
    return module.register_forward_pre_hook(hook, with_kwargs=True)
