"""Decoding steps for one row and for several: inside `reduced`, and the stock model with an equally long KV cache.

The stock model's cache of each method is a stock prefill's, cut to the length that the method leaves in every layer;
so the two differ only in the hooks. Each measured run prefills one row anew, untimed, and repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vscan_core.bench.prefill import traced
from vscan_core.bench.rounds import Figures, attempt, measured
from vscan_core.bench.subject import STOCK, WATCHED, Subject, prefill, running_as, token_steps_of
from vscan_core.lvlm import LVLM
from vscan_core.measure import Stopwatch, kv_bytes
from vscan_core.prepared import PreparedInputs
from vscan_core.reducers import Reducer
from vscan_core.trace import Trace
from vscan_core.versions import CACHE, cache_out

AS_LONG = "stock, cache as of "


def shorten(cache: Any, tokens_per_layer: Sequence[int]) -> None:
    """Keep only the first tokens of each layer of a stock cache, in place; a state has the same size for any number."""
    for layer, count in zip(cache.layers, tokens_per_layer, strict=True):
        if getattr(layer, "keys", None) is None:
            continue
        layer.keys = layer.keys[:, :, :count].contiguous()
        layer.values = layer.values[:, :, :count].contiguous()
        if layer.is_sliding:  # which counts what it has seen
            layer.cumulative_length = count


def lengths_of(lvlm: LVLM, trace: Trace) -> list[int]:
    """The tokens that a method leaves in each layer; with eager attention, whose mask all layers share, their mean."""
    lengths = trace.tokens_per_layer
    shared = lvlm.family.attention(lvlm.model)["text"] == "eager"
    return [round(sum(lengths) / len(lengths))] * len(lengths) if shared else lengths


@torch.inference_mode()
def timed_steps(
    lvlm: LVLM,
    inputs: PreparedInputs,
    way: Reducer | str | None,
    rows: int,
    steps: int,
    stopwatch: Stopwatch,
    lengths: Sequence[int] | None = None,
) -> dict[str, float]:
    """Milliseconds of one decoding step of `rows` rows, as the mean over `steps`.

    inputs: of one row. lengths: of the stock model's cache in each layer.
    """
    with running_as(lvlm, inputs, way):
        out = prefill(lvlm.model, inputs)
        cache = cache_out(out)
        if lengths is not None:
            shorten(cache, lengths)
        cache.batch_repeat_interleave(rows)
        size, next_ids = kv_bytes(cache), _best(out.logits).repeat(rows, 1)
        next_ids = _best(_step_logits(lvlm, next_ids, cache))  # untimed: kernels of a new shape
        stopwatch.wait()
        start = stopwatch.mark()
        for _ in range(steps):
            next_ids = _best(_step_logits(lvlm, next_ids, cache))
        end = stopwatch.mark()
        stopwatch.wait()
    return {"step_ms": stopwatch.ms(start, end) / steps, "kv_bytes": float(size)}


def _step_logits(lvlm: LVLM, ids: Tensor, cache: Any) -> Tensor:
    logits: Tensor = lvlm.model(input_ids=ids, use_cache=True, **{CACHE: cache}).logits
    return logits


def _best(logits: Tensor) -> Tensor:
    return logits[:, -1:].argmax(-1)


def decode_rows(subject: Subject, rows: int) -> list[dict[str, Any]]:
    """One row per way of running the model, and per method one of the stock model with as short a cache."""
    lvlm, suite, inputs = subject.lvlm, subject.suite, subject.inputs()
    runs, traces, rivals = {}, {}, {WATCHED: STOCK}

    def steps(way: Reducer | str | None, lengths: Sequence[int] | None = None) -> Callable[[], Figures]:
        return partial(timed_steps, lvlm, inputs, way, rows, suite.steps, subject.stopwatch(), lengths)

    for name, way in subject.ways().items():
        runs[name] = steps(way)
        if isinstance(way, Reducer):
            trace = attempt(partial(traced, lvlm, inputs, way), lvlm.device)
            if isinstance(trace, Trace):
                rivals[name], traces[name] = AS_LONG + name, trace
                runs[rivals[name]] = steps(STOCK, lengths_of(lvlm, trace))
    found = measured(runs, suite.rounds, suite.warm_ups, subject.order, lvlm.device)
    out = []
    for name in runs:
        row = {"test": "decode", "rows": rows, "run": name, **found.row(name)}
        if row["status"] == "ok" and name in rivals:
            row["of_equally_long_stock"] = found.ratio(name, rivals[name], "step_ms")
        if row["status"] == "ok" and name != STOCK:
            row["times_faster"] = found.ratio(STOCK, name, "step_ms")
        if name in traces:
            row["tokens"] = list(token_steps_of(traces[name]))
        out.append(row)
    return out
