"""Decoding steps with a cache that grows and with a static one: eager, with compiled layers, replayed as a CUDA graph.

The stock model, the baseline and the method are treated alike. Each measured run starts with a prompt of its own, which
always runs eagerly, as in `generate`; compilation and capture are not timed. A static cache is used again in the next
run, as compiled code requires.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from vscan_core.bench.rounds import Figures, measured
from vscan_core.bench.subject import STOCK, Subject, prefill, running_as
from vscan_core.bench.suites import COMPILED, GRAPH, GROWING
from vscan_core.lvlm import LVLM
from vscan_core.measure import Stopwatch, kv_bytes
from vscan_core.prepared import PreparedInputs
from vscan_core.reducers import Reducer
from vscan_core.versions import CACHE, cache_out, new_static_cache

UNTIMED = 3  # steps before the timed ones: compilation, and warm-up before a capture
CODE_PER_LAYER = 16  # compiled versions that torch may keep; it keeps 8 of all layers together, then goes on eagerly


@dataclass
class CompiledLayers:
    """A model's decoder layers, compiled one by one, and only while `use()` is entered."""

    layers: Sequence[nn.Module]
    mode: str | None  # of torch.compile
    backend: str = "inductor"
    calls: list[Any] = field(default_factory=list)

    @contextmanager
    def use(self) -> Iterator[None]:
        """Inside this `with`, the layers run compiled; each is one graph, without breaks."""
        if not self.calls:
            for layer in self.layers:
                layer.compile(backend=self.backend, mode=self.mode, fullgraph=True, dynamic=False)
                self.calls.append(layer._compiled_call_impl)
        limit = CODE_PER_LAYER * len(self.layers)
        with torch._dynamo.config.patch(recompile_limit=limit, accumulated_recompile_limit=limit):
            try:
                for layer, call in zip(self.layers, self.calls, strict=True):
                    layer._compiled_call_impl = call
                yield
            finally:
                for layer in self.layers:
                    layer._compiled_call_impl = None


class Steps:
    """The decoding steps after one prompt. Ids and positions are written in place, so that a graph can be replayed."""

    def __init__(self, lvlm: LVLM, out: Any, length: int) -> None:
        self.model, self.cache = lvlm.model, cache_out(out)
        self.ids = out.logits[:, -1:].argmax(-1)
        self.position = torch.full_like(self.ids, length)

    def __call__(self) -> None:
        """One step; it never makes the host wait for the device."""
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        logits = self.model(
            input_ids=self.ids, position_ids=self.position, use_cache=True, **{CACHE: self.cache}
        ).logits
        self.ids.copy_(logits[:, -1:].argmax(-1))
        self.position += 1

    def captured(self) -> Callable[[], None]:
        """The step as one CUDA graph."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self()
        return graph.replay


@dataclass
class Mode:
    """One way of running the model, with one kind of cache and of code."""

    lvlm: LVLM
    inputs: PreparedInputs
    way: Reducer | str | None
    name: str
    compiled: CompiledLayers
    steps: int
    stopwatch: Stopwatch
    cache: Any = None  # the static one, of the run before

    @torch.inference_mode()
    def run(self) -> dict[str, float]:
        """Milliseconds until the first token and of one later step, and bytes of the cache."""
        length, stopwatch = self.inputs["input_ids"].shape[1], self.stopwatch
        code = self.compiled.use() if self.name == COMPILED else nullcontext()
        with code, running_as(self.lvlm, self.inputs, self.way):
            static = self._empty_cache(length)
            stopwatch.wait()
            start = stopwatch.mark()
            with torch.compiler.set_stance("force_eager"):
                step = Steps(self.lvlm, prefill(self.lvlm.model, {**self.inputs, **static}), length)
            first = stopwatch.mark()
            stopwatch.wait()
            size = kv_bytes(step.cache)
            begin, middle, end = self._timed(step)
        return {
            "first_token_ms": stopwatch.ms(start, first),
            "step_ms": stopwatch.ms(middle, end) / self.steps,
            "untimed_steps_ms": stopwatch.ms(begin, middle),  # compilation, in the first run
            "kv_bytes": float(size),
        }

    def _timed(self, step: Steps) -> tuple[Any, Any, Any]:
        """Marks before the untimed steps, before the timed ones, and after them."""
        begin, stopwatch = self.stopwatch.mark(), self.stopwatch
        for _ in range(UNTIMED):
            step()
        stopwatch.wait()
        go_on: Callable[[], None] = step.captured() if self.name == GRAPH else step
        middle = stopwatch.mark()
        for _ in range(self.steps):
            go_on()
        end = stopwatch.mark()
        stopwatch.wait()
        return begin, middle, end

    def _empty_cache(self, length: int) -> dict[str, Any]:
        if self.name == GROWING:
            return {}
        if self.cache is None:
            room = UNTIMED + 1 + self.steps  # a capture counts as a step
            self.cache = new_static_cache(self.lvlm.model.config, length + room)
        else:
            self.cache.reset()
        return {CACHE: self.cache}


def mode_rows(subject: Subject) -> list[dict[str, Any]]:
    """One row per way of running the model and per mode, for one row of the batch."""
    lvlm, suite, inputs = subject.lvlm, subject.suite, subject.inputs()
    on_gpu = lvlm.device.type == "cuda"
    layers = list(lvlm.family.layers(lvlm.model))
    compiled = CompiledLayers(layers, "reduce-overhead" if on_gpu else None)
    keys = [(mode, name) for mode in suite.modes for name in subject.ways() if on_gpu or mode != GRAPH]
    runs: dict[str, Callable[[], Figures]] = {}
    for mode, name in keys:
        way = subject.ways()[name]
        runs[f"{mode}: {name}"] = Mode(lvlm, inputs, way, mode, compiled, suite.steps, subject.stopwatch()).run
    found = measured(runs, max(2, suite.rounds // 2), max(1, suite.warm_ups), subject.order, lvlm.device)
    return [
        _row(mode, name, partial(found.ratio, figure="step_ms"), found.row(f"{mode}: {name}")) for mode, name in keys
    ]


def _row(mode: str, name: str, ratio: Callable[[str, str], Any], figures: dict[str, Any]) -> dict[str, Any]:
    row = {"test": "modes", "case": mode, "run": name, "rows": 1, **figures}
    if row["status"] == "ok" and (mode, name) != (GROWING, STOCK):
        row["times_faster"] = ratio(f"{GROWING}: {STOCK}", f"{mode}: {name}")
    if row["status"] == "ok" and name != STOCK:
        row["of_stock_in_this_mode"] = ratio(f"{mode}: {name}", f"{mode}: {STOCK}")
    return row
