"""A second device for machines that have none: tensors that live on the CPU but refuse to meet CPU tensors.

Every operator runs on the inner tensors; one that mixes devices raises, as it does between two GPUs. (Single numbers
and empty tensors may mix.)
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

ELSEWHERE = torch.device("cpu:1")  # a name that torch accepts and never gives itself


class Distant(Tensor):
    """A tensor on ELSEWHERE."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Distant:
        shape = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        made = Tensor._make_wrapper_subclass(cls, inner.shape, device=ELSEWHERE, **shape)
        made.inner = inner.detach()
        return made

    def tolist(self) -> Any:
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})


class SecondDevice(TorchDispatchMode):
    """Inside this, tensors can be moved to ELSEWHERE and made there."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})


def run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    target = kwargs.get("device")
    moves = function is torch.ops.aten._to_copy.default
    where = {one.device for one in tensors if one.dim() > 0 and one.numel() > 0}
    if len(where) > 1 and function is not torch.ops.aten.copy_.default:
        raise RuntimeError(f"{function}: tensors on different devices: {where}")
    distant = any(isinstance(one, Distant) for one in tensors)
    if target is not None:
        distant = torch.device(target) == ELSEWHERE
        kwargs = {**kwargs, "device": torch.device("cpu")}
    elif not distant:
        return function(*args, **kwargs)
    if distant and not moves and target is None and where == {torch.device("cpu")}:
        distant = False  # only a single number is elsewhere
    inner = [tree_map_only(Distant, lambda one: one.inner, part) for part in (args, kwargs)]
    out = function(*inner[0], **inner[1])
    if function._schema.is_mutable and isinstance(args[0], Tensor):
        return args[0]
    return tree_map_only(Tensor, Distant, out) if distant else out


def send(module: nn.Module) -> None:
    """Weights and buffers of `module` to ELSEWHERE, and accelerate's hook that moves its arguments there."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                part._parameters[name] = nn.Parameter(Distant(weight.data), requires_grad=False)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = Distant(buffer)
    add_hook_to_module(module, AlignDevicesHook(execution_device=ELSEWHERE))


def fetch(module: nn.Module) -> None:
    """accelerate's hook that moves the arguments of `module` back to the CPU."""
    add_hook_to_module(module, AlignDevicesHook(execution_device=torch.device("cpu")))
