"""Operators, and points where the host waits for the device, in a prefill and in a decoding step.

On a small model or a fast GPU the time of a step is the number of its operators, so both are counted, not timed.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vscan_core.bench.rounds import Failure, attempt
from vscan_core.bench.subject import Subject, prefill, running_as
from vscan_core.lvlm import LVLM
from vscan_core.prepared import PreparedInputs
from vscan_core.reducers import Reducer
from vscan_core.versions import CACHE, cache_out

HOST_READS = frozenset(("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim"))
WAITED = "called a synchronizing CUDA operation"  # torch's warning


class OperatorCount(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts torch's operators outside and inside `section()`; views too, because they take the host's time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outside: Counter[str] = Counter()
        self.inside: Counter[str] = Counter()
        self.host_reads = 0  # operators whose values or size the host must see before it goes on
        self._depth = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        (self.inside if self._depth else self.outside)[name] += 1
        self.host_reads += name in HOST_READS or _masked(name, args)
        return function(*args, **(kwargs or {}))

    @contextmanager
    def section(self) -> Iterator[None]:
        """For `timed` of an attachment: what runs inside belongs to the method."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    @property
    def total(self) -> int:
        """All operators."""
        return self.outside.total() + self.inside.total()


def _masked(name: str, args: Any) -> bool:
    """Whether an operator indexes by a mask, whose number of ones decides a shape."""
    many = name == "index" or (name in ("index_put", "index_put_") and args[2].numel() > 1)
    return many and any(isinstance(one, Tensor) and one.dtype == torch.bool for one in args[1])


@contextmanager
def synchronisations(device: torch.device) -> Iterator[list[str]]:
    """The warnings of torch's own detector, one for each time the host waited; stays empty without a GPU."""
    found: list[str] = []
    if device.type != "cuda":
        yield found
        return
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)
            found += [text for one in caught if WAITED in (text := str(one.message))]


@torch.inference_mode()
def counted(lvlm: LVLM, inputs: PreparedInputs, way: Reducer | str | None) -> dict[str, Any]:
    """The counts of one prefill and of one decoding step after it, each in a call of its own."""
    for counts in (OperatorCount(), OperatorCount()):  # the first run fills what is computed once per model
        step_counts, model = OperatorCount(), lvlm.model
        with running_as(lvlm, inputs, way, counts.section):
            with counts:
                out = prefill(model, inputs)
            with step_counts:
                _step(lvlm, inputs, out)
    waits: list[list[str]] = []
    with running_as(lvlm, inputs, way, nullcontext):
        with synchronisations(lvlm.device) as found:
            out = prefill(lvlm.model, inputs)
        waits.append(found)
        with synchronisations(lvlm.device) as found:
            _step(lvlm, inputs, out)
        waits.append(found)
    on_gpu = lvlm.device.type == "cuda"
    return {
        "prefill_operators": counts.total,
        "prefill_operators_of_method": counts.inside.total(),
        "prefill_host_reads": counts.host_reads,
        "prefill_synchronisations": len(waits[0]) if on_gpu else None,
        "step_operators": step_counts.total,
        "step_host_reads": step_counts.host_reads,
        "step_synchronisations": len(waits[1]) if on_gpu else None,
    }


def _step(lvlm: LVLM, inputs: PreparedInputs, out: Any) -> None:
    ids = inputs["input_ids"][:, -1:]  # any token
    lvlm.model(input_ids=ids, use_cache=True, **{CACHE: cache_out(out)})


def count_rows(subject: Subject, inputs: PreparedInputs) -> list[dict[str, Any]]:
    """One row per way of running the model."""
    rows = []
    for name, way in subject.ways().items():
        found = attempt(partial(counted, subject.lvlm, inputs, way), subject.lvlm.device)
        figures = found.row() if isinstance(found, Failure) else {"status": "ok", **found}
        rows.append({"test": "counts", "run": name, **figures})
    return rows
