"""Memory of a prefill: bytes of the KV cache, and the most that its tensors hold at once besides the weights."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vscan_core.bench.rounds import Failure, attempt
from vscan_core.bench.subject import STOCK, Subject, prefill, running_as
from vscan_core.lvlm import LVLM
from vscan_core.measure import kv_bytes, release_memory
from vscan_core.prepared import PreparedInputs
from vscan_core.reducers import Reducer
from vscan_core.versions import cache_out

GATHER_OPERATORS = {"index_select", "index", "gather", "embedding"}  # read of their first operand only what they return


class Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes that torch's operators read and write, and the peak that they hold at once besides the inputs.

    Every operator is assumed to read its operands from memory and to write its result there. Scratch memory inside an
    operator (a sort, for example) is not visible.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moved = self.held = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if function.is_view:
            return out
        name = function.overloadpacket.__name__
        read = tree_leaves((args[1:] if name in GATHER_OPERATORS else args, kwargs))
        written = [one for one in tree_leaves(out) if isinstance(one, torch.Tensor)]
        self.moved += sum(one.nbytes for one in read if isinstance(one, torch.Tensor))
        self.moved += sum(one.nbytes * (2 if name in GATHER_OPERATORS else 1) for one in written)
        mine = {one.untyped_storage()._cdata for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        for tensor in written:
            self._hold(tensor.untyped_storage(), mine)
        self.peak = max(self.peak, self.held)
        return out

    def _hold(self, storage: torch.UntypedStorage, inputs: set[int]) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in inputs or key in self._known:
            return
        self._known.add(key)
        self.held += size
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.held -= size


@torch.inference_mode()
def memory_of(lvlm: LVLM, inputs: PreparedInputs, way: Reducer | str | None) -> dict[str, Any]:
    """Bytes of one prefill, after an untimed one: of the allocator on a GPU, else counted operator by operator."""
    with running_as(lvlm, inputs, way):
        prefill(lvlm.model, inputs)
    with running_as(lvlm, inputs, way):
        if lvlm.device.type != "cuda":
            with Tally() as tally:
                cache = cache_out(prefill(lvlm.model, inputs))
            return {"kv_bytes": kv_bytes(cache), "peak_bytes": tally.peak, "peak_of": "tensors"}
        release_memory()
        torch.cuda.reset_peak_memory_stats(lvlm.device)
        before = torch.cuda.memory_allocated(lvlm.device)
        cache = cache_out(prefill(lvlm.model, inputs))
        peak = torch.cuda.max_memory_allocated(lvlm.device) - before
        return {"kv_bytes": kv_bytes(cache), "peak_bytes": peak, "peak_of": "allocator"}


def memory_rows(subject: Subject, inputs: PreparedInputs) -> list[dict[str, Any]]:
    """One row per way of running the model; both figures are exact, so there is one run of each."""
    rows: list[dict[str, Any]] = []
    for name, way in subject.ways().items():
        found = attempt(partial(memory_of, subject.lvlm, inputs, way), subject.lvlm.device)
        figures = found.row() if isinstance(found, Failure) else {"status": "ok", **found}
        rows.append({"test": "memory", "run": name, **figures})
    stock = next((row for row in rows if row["run"] == STOCK and row["status"] == "ok"), None)
    for row in rows:
        if stock is not None and row["status"] == "ok":
            row |= {f"times_smaller_{name}": round(stock[name] / row[name], 4) for name in ("kv_bytes", "peak_bytes")}
    return rows
