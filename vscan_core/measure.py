"""Stage timers, peak memory, KV bytes and FLOPs. Every figure is measured in the run that it describes.

Time: device events on a GPU (one synchronisation, at the end of the prefill), the monotonic clock elsewhere; the
processor and anything else outside the model are excluded.
FLOPs: a multiply-add counts as two. Decoder layer with n tokens, width D, key width K, MLP width I:
2n(2D^2 + 2DK + 3DI) + A; summed over layers, each with its own n. The LM head and the vision tower are left out.
In hybrids (Qwen3.5), attention has a gate, 3D^2 instead of 2D^2, and other layers have linear attention instead,
2n(D(2K + 3V + 2H) + 3kV + 3DI): keys of width K, k per head, values of width V, H heads, a state that each token
multiplies three times; their short convolutions are left out.
In Gemma 4, layers have a width K of their own, some have keys that are values, too (DK for 2DK), embeddings of width P
of each token (3DP), or experts; layers with a window attend to no more than it. Layers that reuse the keys of another
one have none (2DK less) and run on the prompt's last token alone, as they do where only its logits are wanted.
A is the attention, twice a product of scores or weights with keys or values, and there are two ways to count it:
- causal (`Cost.tflops`): each token attends to itself and to what is before it, A = 2n(n + 1) D;
- full (`Cost.tflops_full`): the whole map, of which causal masking discards half, A = 4n^2 D. Papers count so, and
  eager attention computes it.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from vscan_core.errors import OutOfMemory
from vscan_core.layer_work import layer_work

Mark = Any  # a torch.cuda.Event, or seconds


class RecentKeys:
    """A set of the `limit` most recently added keys."""

    def __init__(self, limit: int = 256) -> None:
        self.limit = limit
        self._keys: OrderedDict[Hashable, None] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._keys

    def add(self, *keys: Hashable) -> None:
        """Add keys; the oldest ones are removed if there are more than `limit`."""
        for key in keys:
            self._keys[key] = None
            self._keys.move_to_end(key)
        while len(self._keys) > self.limit:
            self._keys.popitem(last=False)


class Stopwatch:
    """Marks on one device's clock: `now` (seconds), or device events on a GPU."""

    def __init__(self, device: torch.device, now: Callable[[], float] = time.perf_counter) -> None:
        self.device, self.cuda, self.now = device, device.type == "cuda", now
        self.sections: list[tuple[Mark, Mark]] = []
        self._open = False

    def mark(self) -> Mark:
        """The present moment on the device's clock."""
        if not self.cuda:
            return self.now()
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def wait(self) -> None:
        """Wait for the device to reach the present moment."""
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def ms(self, start: Mark, end: Mark) -> float:
        """Milliseconds between two marks; on a GPU, work up to `end` must have completed."""
        return float(start.elapsed_time(end)) if self.cuda else 1000 * (end - start)

    @contextmanager
    def section(self) -> Iterator[None]:
        """Time the body of the `with` and add it to `sections`; one inside another is part of the outer one."""
        if self._open:
            yield
            return
        start, self._open = self.mark(), True
        try:
            yield
        finally:
            self._open = False
            self.sections.append((start, self.mark()))

    def spent(self, first: int = 0, last: int | None = None) -> float:
        """Total milliseconds of sections `first` to `last` - 1."""
        return sum(self.ms(*section) for section in self.sections[first:last])


def kv_bytes(cache: Any) -> int:
    """Bytes of the keys and values, or else of the states, that each layer of a transformers cache holds."""
    held: list[Any] = []
    for layer in cache.layers:
        if hasattr(layer, "keys"):
            held += [layer.keys, layer.values]
        else:
            held += [*layer.conv_states.values(), *layer.recurrent_states.values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in held if tensor is not None)


def prefill_tflops(tokens_per_layer: Sequence[int], text_config: Any, *, causal: bool = True) -> float:
    """Floating-point operations of the decoder over a prompt, in units of 10^12, by the formula in `measure`.

    Args:
        tokens_per_layer: All tokens that enter each decoder layer.
        text_config: Of the LLM, from transformers.
        causal: Whether each token attends to itself and what is before it; False: to all tokens (n^2).
    """
    total = 0
    for n, layer in zip(tokens_per_layer, layer_work(text_config, len(tokens_per_layer)), strict=True):
        queries = 1 if layer.last_token_only else n
        total += 2 * queries * layer.products + 4 * layer.attention * layer.pairs(n, causal)
    return total / 1e12


def prompt_kv_bytes(tokens_per_layer: Sequence[int], text_config: Any, bytes_per_number: int) -> int:
    """Bytes of the KV cache of a prompt of which so many tokens entered each decoder layer, by formula."""
    layers = layer_work(text_config, len(tokens_per_layer))
    numbers = sum(
        layer.kv_numbers * min(n, layer.window or n) for n, layer in zip(tokens_per_layer, layers, strict=True)
    )
    return bytes_per_number * numbers


class PeakMemory:
    """Peak memory from construction to `read()`, weights included: of the allocator on all GPUs, or of the process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            for gpu in range(torch.cuda.device_count()):
                torch.cuda.reset_peak_memory_stats(gpu)
        else:
            _reset_process_peak()

    def read(self) -> int | None:
        """Peak memory in bytes; None if the system does not report it."""
        if self.device.type == "cuda":
            return sum(int(torch.cuda.max_memory_allocated(gpu)) for gpu in range(torch.cuda.device_count()))
        try:
            status = Path("/proc/self/status").read_text()
        except OSError:
            return None
        line = next((line for line in status.splitlines() if line.startswith("VmHWM")), None)
        return int(line.split()[1]) * 1024 if line else None


def _reset_process_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: reset the high-water mark of resident memory


@contextmanager
def memory_guard(device: torch.device) -> Iterator[None]:
    """Free memory after a failed allocation inside the `with`, then raise OutOfMemory."""
    exhausted = False
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        traceback.clear_frames(error.__traceback__)  # whoever keeps the error keeps no tensors
        exhausted = True
    if exhausted:  # outside the except block, where the frames of the error no longer hold tensors
        release_memory()
        raise OutOfMemory(
            "Memory ran out and has been freed: try a lower retention, a smaller picture or a smaller model."
        )


def ran_out(error: Exception) -> bool:
    """Whether an exception reports a failed allocation; libraries share no exception type for that."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)


def release_memory() -> None:
    """Return unused memory to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
