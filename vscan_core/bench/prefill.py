"""A prompt up to its first token: stock, watched, with methods, and the limit of each method's schedule.

`prefill_and_reduce_ms` is the decoder with every selection, wherever that takes place; "times faster" compares it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from vscan_core.bench.limit import Limit
from vscan_core.bench.record import significant
from vscan_core.bench.rounds import Failure, Figures, attempt, measured
from vscan_core.bench.subject import STOCK, Subject, prefill, running_as, token_steps_of, visual_tokens
from vscan_core.lvlm import LVLM
from vscan_core.measure import Stopwatch, prefill_tflops
from vscan_core.prepared import PreparedInputs
from vscan_core.reducers import Reducer
from vscan_core.trace import Trace

LIMIT_OF = "limit of "


def timed_prefill(
    lvlm: LVLM, inputs: PreparedInputs, way: Reducer | str | None, stopwatch: Stopwatch
) -> dict[str, float]:
    """Milliseconds of each stage of one prefill, until the first token is on the device."""
    entered: list[tuple[Any, int]] = []

    def at_decoder(module: Any, args: Any) -> None:
        entered[:] = [(stopwatch.mark(), len(stopwatch.sections))]

    with torch.inference_mode(), running_as(lvlm, inputs, way, stopwatch.section):
        # prepended after all others, so that the time is taken before cut 0 removes rows
        handle = lvlm.family.language_model(lvlm.model).register_forward_pre_hook(at_decoder, prepend=True)
        try:
            stopwatch.wait()
            host, start = time.perf_counter(), stopwatch.mark()
            prefill(lvlm.model, inputs).logits[:, -1].argmax(-1)
            end, launched = stopwatch.mark(), 1000 * (time.perf_counter() - host)
            stopwatch.wait()
        finally:
            handle.remove()
    (middle, split), *_ = entered
    before, after = stopwatch.spent(0, split), stopwatch.spent(split)
    vision = stopwatch.ms(start, middle) - before
    stopwatch.sections.clear()
    return {
        "vision_ms": vision,
        "reduce_ms": before + after,
        "prefill_and_reduce_ms": stopwatch.ms(middle, end) + before,
        "first_token_ms": stopwatch.ms(start, end),
        "launch_ms": launched,  # until the host had queued all work
    }


def traced(lvlm: LVLM, inputs: PreparedInputs, way: Reducer | None) -> Trace:
    """What one prefill did."""
    with torch.inference_mode(), running_as(lvlm, inputs, way) as trace:
        prefill(lvlm.model, inputs)
    assert trace is not None
    return trace


def prefill_rows(
    subject: Subject, inputs: PreparedInputs, case: str, *, everything: bool = True
) -> list[dict[str, Any]]:
    """One row per way of running the model on these inputs; not `everything`: without baseline and limits."""
    lvlm, ways = subject.lvlm, subject.ways()
    traces = {
        name: attempt(partial(traced, lvlm, inputs, way), lvlm.device)
        for name, way in ways.items()
        if not isinstance(way, str)
    }
    runs: dict[str, Callable[[], Figures]] = {
        name: partial(timed_prefill, lvlm, inputs, way, subject.stopwatch())
        for name, way in ways.items()
        if everything or way is not None
    }
    rows, out = len(inputs["input_ids"]), []
    for name, trace in traces.items():
        if everything and isinstance(trace, Trace) and isinstance(ways[name], Reducer):
            limit = attempt(partial(Limit, lvlm, trace.tokens_per_layer, rows), lvlm.device)
            if isinstance(limit, Limit):
                runs[LIMIT_OF + name] = limit.run
    found = measured(runs, subject.suite.rounds, subject.suite.warm_ups, subject.order, lvlm.device)
    head = {"test": "prefill", "case": case, "rows": rows, "visual_tokens": visual_tokens(lvlm, inputs)}
    for name in runs:
        row = {**head, "run": name, **found.row(name)}
        if row["status"] == "ok" and name != STOCK:
            row["times_faster"] = found.ratio(STOCK, name, "prefill_and_reduce_ms")
        if row["status"] == "ok" and "first_token_ms" in row and name != STOCK:
            row["times_sooner"] = found.ratio(STOCK, name, "first_token_ms")
        if LIMIT_OF + name in runs:
            row["share_of_limit"] = found.ratio(LIMIT_OF + name, name, "prefill_and_reduce_ms")
        row |= _work(subject, traces.get(name.removeprefix(LIMIT_OF)), traces)
        if row["status"] == "ok" and "tflops" in row:
            row["tflops_per_s"] = significant(1000 * row["tflops"] / row["prefill_and_reduce_ms"]["median"])
        out.append(row)
    return out


def _work(subject: Subject, trace: Trace | Failure | None, traces: dict[str, Trace | Failure]) -> dict[str, Any]:
    """What a run computes, by the formulas of `measure`; the stock model computes what the baseline does."""
    full = next(iter(traces.values()))
    mine = full if trace is None else trace
    if not isinstance(mine, Trace) or not isinstance(full, Trace):
        return {}
    config = subject.lvlm.model.config.text_config
    row: dict[str, Any] = {"tokens": list(token_steps_of(mine))}
    for name, causal in (("tflops", True), ("tflops_full", False)):
        here, all_tokens = (prefill_tflops(one.tokens_per_layer, config, causal=causal) for one in (mine, full))
        row |= {name: here, f"times_fewer_{name}": round(all_tokens / here, 4)}
    return row
