"""Stage timers, peak memory, KV bytes and FLOPs. Every figure is of the run that it was taken in.

Time: device events on a GPU (one synchronise, at the end of the prefill), the monotonic clock elsewhere; the
processor and anything outside the model are excluded.
FLOPs: multiply and add count as two. Decoder layer with n tokens, width D, key width K, MLP width I:
2n(2D^2 + 2DK + 3DI) + 4n^2 D; summed over layers, each with its own n. LM head and vision tower are left out.
"""

from __future__ import annotations

import gc
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from vscan_core.errors import OutOfMemory

Mark = Any  # a torch.cuda.Event or seconds


class RecentKeys:
    """A set that remembers the `limit` keys that were added last."""

    def __init__(self, limit: int = 64) -> None:
        self.limit = limit
        self._keys: OrderedDict[Hashable, None] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._keys

    def add(self, key: Hashable) -> None:
        """Remember a key; the oldest one is forgotten if there are too many."""
        self._keys[key] = None
        self._keys.move_to_end(key)
        if len(self._keys) > self.limit:
            self._keys.popitem(last=False)


class Stopwatch:
    """Marks on one device's clock: `now` (seconds), or device events on a GPU."""

    def __init__(self, device: torch.device, now: Callable[[], float] = time.perf_counter) -> None:
        self.cuda, self.now = device.type == "cuda", now
        self.sections: list[tuple[Mark, Mark]] = []

    def mark(self) -> Mark:
        """Now, on the device's own time line."""
        if not self.cuda:
            return self.now()
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def ms(self, start: Mark, end: Mark) -> float:
        """Milliseconds between two marks; the device must be past both."""
        return float(start.elapsed_time(end)) if self.cuda else 1000 * (end - start)

    @contextmanager
    def section(self) -> Iterator[None]:
        """Time a part and remember it in `sections`."""
        start = self.mark()
        yield
        self.sections.append((start, self.mark()))

    def spent(self, first: int = 0, last: int | None = None) -> float:
        """Milliseconds in sections first..last-1."""
        return sum(self.ms(*section) for section in self.sections[first:last])


def kv_bytes(cache: Any) -> int:
    """Bytes of the keys and values that a transformers cache really holds."""
    held = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    return sum(tensor.numel() * tensor.element_size() for tensor in held)


def prefill_tflops(tokens_per_layer: Sequence[int], text_config: Any) -> float:
    """Teraflops of the decoder over a prompt, by the formula at the top of this file."""
    width, heads = text_config.hidden_size, text_config.num_attention_heads
    head = getattr(text_config, "head_dim", None) or width // heads
    attention, keys = heads * head, (getattr(text_config, "num_key_value_heads", None) or heads) * head
    per_token = 2 * (2 * width * attention + 2 * width * keys + 3 * width * text_config.intermediate_size)
    return float(sum(n * per_token + 4 * n * n * attention for n in tokens_per_layer)) / 1e12


class PeakMemory:
    """Peak memory from its making to `read()`, weights included: the allocator's of all GPUs, or the process's."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            for gpu in range(torch.cuda.device_count()):
                torch.cuda.reset_peak_memory_stats(gpu)
        else:
            _reset_process_peak()

    def read(self) -> int | None:
        """Bytes; None where the system does not tell."""
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
        Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the high-water mark of resident memory


@contextmanager
def memory_guard(device: torch.device) -> Iterator[None]:
    """Turn an allocation failure inside into OutOfMemory, one sentence, after giving memory back."""
    exhausted = False
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        exhausted = True
    if exhausted:  # outside the except block: the error's frames no longer hold tensors
        release_memory()
        raise OutOfMemory(
            "Memory ran out, and what was used has been freed: try a lower retention, a smaller picture or model."
        )


def ran_out(error: Exception) -> bool:
    """Whether an exception says that memory could not be had; libraries have no common type for that."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)


def release_memory() -> None:
    """Give memory that nothing uses any more back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
