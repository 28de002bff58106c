"""Baseline / VScan over retentions: ratios of prefill time, time to first token and memory within one run.

python -m benchmarks.prefill --model dummy:llava-small [--repeats 7] [--out assets/recorded/NAME.json]

Baseline and reduced runs alternate, so that drift affects both; each ratio is the median over the pairs, with the
smallest and the largest. Random weights say nothing about answers, so only time and memory are recorded.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

import vscan_core as vc
from benchmarks.provenance import CAUSAL_FLOPS, write_record
from vscan_core.bench.record import provenance
from vscan_core.bench.subject import QUESTION

MEASURED_RETENTIONS = (0.5, 1 / 3, 2 / 9, 1 / 9, 1 / 18)


def answer_once(lvlm: vc.LVLM, image: Image.Image, reducer: vc.Reducer | None) -> vc.Answer:
    """One measured run of two tokens."""
    events = list(vc.answer(lvlm, image, QUESTION, reducer, max_new_tokens=2))
    done = events[-1]
    assert isinstance(done, vc.Done)
    return done.answer


def compared(lvlm: vc.LVLM, image: Image.Image, retention: float, repeats: int) -> dict[str, Any]:
    """Ratios baseline / VScan at one retention; the order alternates from pair to pair."""
    pairs = []
    for i in range(repeats):
        order = [None, vc.VScan(retention=retention)]
        runs = {reducer is None: answer_once(lvlm, image, reducer) for reducer in (order if i % 2 else order[::-1])}
        pairs.append((runs[True], runs[False]))
    return {
        "retention": retention,
        "visual_tokens": pairs[0][1].trace.visual_tokens_per_layer,
        "prefill": _ratio(pairs, lambda answer: answer.timings.prefill_and_reduce_ms),
        "ttft": _ratio(pairs, lambda answer: answer.timings.ttft_ms),
        "kv_bytes": _ratio(pairs, lambda answer: answer.cost.kv_bytes),
        "tflops": _ratio(pairs, lambda answer: answer.cost.tflops),
        "selection_share_of_baseline_prefill": _median(pairs, lambda b, r: r.timings.reduce_ms / b.timings.prefill_ms),
        "baseline_prefill_ms": _median(pairs, lambda b, r: b.timings.prefill_ms),
        "baseline_vision_ms": _median(pairs, lambda b, r: b.timings.vision_ms),
    }


def _ratio(pairs: list[tuple[vc.Answer, vc.Answer]], figure: Callable[[vc.Answer], float]) -> dict[str, float]:
    ratios = [figure(baseline) / figure(reduced) for baseline, reduced in pairs]
    return {"median": round(statistics.median(ratios), 3), "min": round(min(ratios), 3), "max": round(max(ratios), 3)}


def _median(pairs: list[tuple[vc.Answer, vc.Answer]], figure: Callable[[vc.Answer, vc.Answer], float]) -> float:
    return round(statistics.median(figure(*pair) for pair in pairs), 4)


def main() -> None:
    """Measure, print, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="dummy:llava-small")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lvlm = vc.load_model(options.model)
    image = Image.effect_noise((400, 300), 80).convert("RGB")
    rows = [compared(lvlm, image, retention, options.repeats) for retention in MEASURED_RETENTIONS]
    record = {
        "model": options.model,
        **provenance(f"python -m benchmarks.prefill --model {options.model} --repeats {options.repeats}", lvlm.device),
        "dtype": str(lvlm.model.dtype).removeprefix("torch."),
        "attention": lvlm.model.config._attn_implementation,
        "ratios": "baseline / VScan, median over pairs of runs",
        "flops": CAUSAL_FLOPS,
        "rows": rows,
    }
    print(json.dumps(record, indent=1))
    write_record(record, options.out)


if __name__ == "__main__":
    main()
