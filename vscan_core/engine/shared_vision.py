"""Run the blocks of the vision encoder once for several runs of a model on the same pixels.

`encode_pixels` records what the blocks give and the signals of the methods that will run; `Replay` gives both back, so
that a run calls no block again. Everything around the blocks (patch embedding, projector, packing) runs each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vscan_core.engine.compiled import uncompiled
from vscan_core.engine.membership import Block, block_of, entered
from vscan_core.engine.state import Current, State
from vscan_core.engine.vision_signals import SignalName, hook_signals, signal_names
from vscan_core.families.base import Family
from vscan_core.families.method_hook import MethodHook, Removable
from vscan_core.measure import Mark, PeakMemory, Stopwatch
from vscan_core.selection import Needs


@dataclass(frozen=True, eq=False)
class SharedVision:
    """What the blocks of a vision encoder gave for the pixels of one prompt."""

    needs: Needs  # the signals that were recorded
    tower: nn.Module  # that ran
    outputs: dict[int, Tensor]  # {vision layer: hidden states}; only what is read after the blocks
    signals: dict[SignalName, Tensor]  # as the family records them
    ms: float  # of the blocks, without signals
    signal_ms: dict[SignalName, float]
    peak_bytes: int | None  # peak memory while they ran, weights included; None: this system does not report it

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        held = [*self.outputs.values(), *self.signals.values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    def covers(self, needs: Needs) -> bool:
        """Whether every signal in `needs` that comes from the blocks was recorded."""
        return set(signal_names(needs)) <= self.signals.keys() and not needs.blocks

    def reduction_ms(self, needs: Needs) -> float:
        """How long the signals in `needs` took, which a run without a method would not compute."""
        return sum(self.signal_ms[name] for name in signal_names(needs))


class _Recorded(Exception):
    """The last block whose output is read has run; each run computes what follows by itself."""


@dataclass
class _Recording:
    """One run of the blocks."""

    stopwatch: Stopwatch
    tower: nn.Module | None = None
    outputs: dict[int, Tensor] = field(default_factory=dict)
    signals: dict[SignalName, Tensor] = field(default_factory=dict)
    sections: dict[SignalName, tuple[Mark, Mark]] = field(default_factory=dict)
    start: Mark = None
    end: Mark = None

    def signal(self, name: SignalName, compute: Callable[[], Tensor]) -> None:
        before = self.stopwatch.mark()
        self.signals[name] = compute()
        self.sections[name] = (before, self.stopwatch.mark())


@torch.inference_mode()
def encode_pixels(
    model: Any, family: Family, pixels: Mapping[str, Any], needs: Needs, stopwatch: Stopwatch
) -> SharedVision:
    """Run the vision side on the processor's image inputs `pixels`, and record it with the signals in `needs`.

    Blocks whose output nobody reads, and everything that follows the blocks, are left out. Raises InputError if the
    family cannot give a signal.
    """
    family.check(needs)
    now, block, memory = _Recording(stopwatch), Block(model), PeakMemory(stopwatch.device)
    wanted = family.vision_outputs(model)

    def active() -> bool:
        return block_of(model) is block

    def record(name: SignalName, compute: Callable[[], Tensor]) -> None:
        if active():
            now.signal(name, compute)

    handles: list[Removable] = []
    try:
        for tower in family.vision_towers(model):
            handles += _recording_hooks(now, tower, family.vision_blocks(tower), wanted, active)
        handles += hook_signals(model, family, needs, record)
        with entered(block), uncompiled(model), suppress(_Recorded):
            family.encode(model, pixels)
        stopwatch.wait()
    finally:
        for handle in handles:
            handle.remove()
    assert now.tower is not None
    signal_ms = {name: stopwatch.ms(*section) for name, section in now.sections.items()}
    ms = stopwatch.ms(now.start, now.end) - sum(signal_ms.values())
    return SharedVision(needs, now.tower, now.outputs, now.signals, ms, signal_ms, memory.read())


def _recording_hooks(
    now: _Recording, tower: nn.Module, blocks: nn.ModuleList, wanted: tuple[int, ...], active: Callable[[], bool]
) -> list[Removable]:
    last = max(wanted)

    def start(module: nn.Module, args: Any, kwargs: Any = None) -> None:
        if active():
            now.tower, now.start = tower, now.stopwatch.mark()

    def keep(layer: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, out: Any) -> None:
            if active():
                now.outputs[layer] = out
                if layer == last:
                    now.end = now.stopwatch.mark()
                    raise _Recorded

        return hook

    return [
        blocks[0].register_forward_pre_hook(start, with_kwargs=True),
        *(blocks[layer].register_forward_hook(keep(layer)) for layer in wanted),
    ]


class Replay:
    """Hooks under which the blocks return what was recorded instead of computing it again."""

    def __init__(self, family: Family, shared: SharedVision) -> None:
        self.shared, self.blocks = shared, family.vision_blocks(shared.tower)

    def hooks(self, current: Current) -> list[Removable]:
        """Register; `current()` gives the calling thread's state, or None if this call is not ours."""

        def replay(layer: int) -> Callable[..., Any]:
            out = self.shared.outputs.get(layer)

            def around(run: Any, *args: Any, **kwargs: Any) -> Any:
                if current() is None:
                    return run(*args, **kwargs)
                hidden = _hidden(args, kwargs)
                if out is not None and out.shape != hidden.shape:
                    raise RuntimeError("these are not the pixels that were encoded; encode them first")
                return hidden if out is None else out

            return around

        return [MethodHook(block, "forward", replay(layer), "around") for layer, block in enumerate(self.blocks)]

    def restore(self, state: State) -> None:
        """Give a run of the encoder the signals that were recorded."""
        state.record_signals(self.shared.signals)


def _hidden(args: Any, kwargs: Mapping[str, Any]) -> Any:
    return args[0] if args else kwargs["hidden_states"]
