"""The signals that come from the blocks of the vision encoder: their names, and the hooks that record them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vscan_core.families.base import Family
from vscan_core.selection import Needs

SignalName = tuple[str, int]  # (field of Needs and Signals, vision layer)
OUTPUT = -1  # stands for the feature layer
KEYS: SignalName = ("keys", OUTPUT)


def signal_names(needs: Needs) -> list[SignalName]:
    """The signals in `needs` that come from the blocks."""
    attention = [("cls_attention", layer) for layer in needs.cls_attention]
    return [*attention, *(("received", layer) for layer in needs.received), *([KEYS] if needs.keys else [])]


def hook_signals(
    model: nn.Module, family: Family, needs: Needs, record: Callable[[SignalName, Callable[[], Tensor]], None]
) -> list[RemovableHandle]:
    """Hook the encoder so that each run passes every signal in `needs`, and how to compute it, to `record`.

    Raises InputError, and leaves no hook, if the family cannot give one of them.
    """
    kinds = {"cls_attention": family.hook_scores, "received": family.hook_received, "keys": family.hook_keys}
    handles: list[RemovableHandle] = []

    def record_as(name: SignalName, layer: int, compute: Callable[[], Tensor]) -> Any:
        record(name, compute)

    try:
        for name in signal_names(needs):
            kind, layer = name
            layer = family.anatomy(model).feature_layer if layer == OUTPUT else layer
            handles += kinds[kind](model, layer, partial(record_as, name))
    except BaseException:  # if one is refused, remove the others
        for handle in handles:
            handle.remove()
        raise
    return handles
