"""What the device can do at best: a matrix product and a copy, large enough to fill it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch

from vscan_core.bench.rounds import measured
from vscan_core.bench.suites import Suite
from vscan_core.measure import Stopwatch

REPEATED = 8  # within one measurement


def ceilings(suite: Suite, device: torch.device, dtype: torch.dtype, seed: int) -> list[dict[str, Any]]:
    """Two rows: TFLOP/s of a square matrix product, and GB/s read plus written by a copy."""
    side, count = suite.side, suite.copied // dtype.itemsize

    def multiply() -> dict[str, float]:
        left, right = (torch.full((side, side), 0.5, device=device, dtype=dtype) for _ in range(2))
        out = torch.empty_like(left)
        seconds = _seconds(lambda: torch.mm(left, right, out=out), device)
        return {"tflops_per_s": 2 * side**3 / seconds / 1e12}

    def copy() -> dict[str, float]:
        source = torch.ones(count, device=device, dtype=dtype)
        target = torch.empty_like(source)
        seconds = _seconds(lambda: target.copy_(source), device)
        return {"gb_per_s": 2 * count * dtype.itemsize / seconds / 1e9}

    runs = {f"matrix product of side {side}": multiply, f"copy of {suite.copied / 1e6:g} MB": copy}
    found = measured(runs, suite.rounds, suite.warm_ups, random.Random(seed), device)
    return [{"test": "ceilings", "run": name, **found.row(name)} for name in runs]


@torch.inference_mode()
def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    """Of one repetition; the first is not timed."""
    stopwatch = Stopwatch(device)
    work()
    stopwatch.wait()
    start = stopwatch.mark()
    for _ in range(REPEATED):
        work()
    end = stopwatch.mark()
    stopwatch.wait()
    return stopwatch.ms(start, end) / 1000 / REPEATED
