"""The cost of the selection itself: time, memory, FLOPs and bytes of every method with a cut before the LLM.

python -m benchmarks.selection [--repeats 9] [--threads 1] [--out assets/recorded/NAME.json]

Random signals in half precision, with the widths of LLaVA-1.5-7B. `select` and then `apply` are measured, without the
vision tower's work on the signals. The reference is that model's dense prefill of the same
number of tokens: FLOPs by the formula of `vscan_core.measure`, bytes by the one of `dense_bytes`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import vscan_core as vc
from benchmarks.provenance import CAUSAL_FLOPS, write_record
from vscan_core.bench.memory import Tally
from vscan_core.bench.record import provenance
from vscan_core.measure import prefill_tflops

ANATOMY = vc.Anatomy(vision_layers=24, feature_layer=22, text_layers=32, shallow_layer=5)
DECODER = SimpleNamespace(hidden_size=4096, num_attention_heads=32, intermediate_size=11008)  # of LLaVA-1.5-7B
PICTURE_GRIDS = {576: (24, 24), 2880: (48, 60)}


def random_signals(tokens: int, grid: tuple[int, int], needs: vc.Needs, dims: dict[str, int]) -> vc.Signals:
    """The features and the signals that `needs` asks for, as random numbers."""
    make = torch.Generator().manual_seed(0)

    def draw(count: int, dim: int) -> torch.Tensor:
        return torch.randn(count, dim, generator=make).half()

    rows = {layer: draw(dims["heads"], tokens).float().softmax(-1).half() for layer in needs.cls_attention}
    return vc.Signals(
        features=draw(tokens, dims["vision"]),
        projected=draw(tokens, dims["projected"]) if needs.projected else None,
        cls_attention=rows,
        received={layer: draw(tokens, 1)[:, 0].float().softmax(-1).half() for layer in needs.received},
        keys=draw(tokens, dims["vision"] // dims["heads"]) if needs.keys or needs.blocks else None,
        joint_patches=draw(tokens, dims["joint"]) if needs.joint else None,
        joint_text=draw(1, dims["joint"]) if needs.joint else None,
        grid=grid,
    )


def dense_bytes(tokens: int) -> int:
    """Bytes of a dense half precision prefill, counted as for the methods: operands read, result written, per operator.

    The weights once; per token, input and output of the seven matrix products and of the attention. Norms, activations
    and the attention map are left out, so the true figure is higher.
    """
    width, inner = DECODER.hidden_size, DECODER.intermediate_size
    weights = 4 * width * width + 3 * width * inner
    per_token = 4 * 2 * width + 3 * (width + inner) + 4 * width
    return 2 * ANATOMY.text_layers * (weights + tokens * per_token)


def measure(name: str, tokens: int, grid: tuple[int, int], repeats: int, dims: dict[str, int]) -> dict[str, Any]:
    """One method at one size."""
    reducer = vc.REDUCERS[name]()
    keep, needs = reducer.schedule(tokens, ANATOMY)[0], reducer.needs(ANATOMY)
    signals = random_signals(tokens, grid, needs, dims)
    rows = signals.projected if needs.projected else signals.features
    assert rows is not None

    def choose() -> None:
        reducer.select(signals, keep).apply(rows)

    choose(), choose()  # warm-up
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        choose()
        times.append(1000 * (time.perf_counter() - start))
    with FlopCounterMode(display=False) as flops:
        choose()
    with Tally() as tally:
        choose()
    dense_flops = prefill_tflops([tokens] * 32, DECODER) * 1e12
    return {
        "method": name,
        "tokens": tokens,
        "keep": keep,
        "ms": {"median": _round(statistics.median(times)), "min": _round(min(times)), "max": _round(max(times))},
        "peak_extra_mib": _round(tally.peak / 2**20),
        "gflops": _round(flops.get_total_flops() / 1e9),
        "mbytes": _round(tally.moved / 1e6),
        "share_of_dense_flops": _round(flops.get_total_flops() / dense_flops),
        "share_of_dense_bytes": _round(tally.moved / dense_bytes(tokens)),
    }


def _round(value: float) -> float:
    return float(f"{value:.3g}")


def cuts_at_the_entrance(name: str) -> bool:
    """Whether a method has a cut 0 of its own, of a picture, at its published retention."""
    try:
        reducer = vc.REDUCERS[name]()
        return 0 in reducer.schedule(576, ANATOMY) and not reducer.sees_all_tiles and reducer.first_reading is reducer
    except vc.InputError:  # its first cut is too late for this retention
        return False


@torch.no_grad()
def measure_all(
    grids: dict[int, tuple[int, int]], repeats: int = 9, dims: dict[str, int] | None = None
) -> list[dict[str, Any]]:
    """The rows of every method with a cut 0, at every size."""
    dims = dims or {"vision": 1024, "projected": 4096, "joint": 768, "heads": 16}
    names = [name for name in vc.REDUCERS if cuts_at_the_entrance(name)]
    return [measure(name, tokens, grid, repeats, dims) for tokens, grid in grids.items() for name in names]


def selection_table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    head = "| method | tokens | kept | ms: median (min to max) | peak extra MiB | of dense FLOPs | of dense bytes |"
    lines = [head, "|---|--:|--:|--:|--:|--:|--:|"]
    for row in rows:
        ms = "{median:g} ({min:g} to {max:g})".format(**row["ms"])
        shares = " | ".join(f"{100 * row[f'share_of_dense_{of}']:.2g} %" for of in ("flops", "bytes"))
        cells = f"`{row['method']}` | {row['tokens']} | {row['keep']} | {ms} | {row['peak_extra_mib']:g} | {shares}"
        lines.append(f"| {cells} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Measure, print, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    load = os.getloadavg()[0]
    rows = measure_all(PICTURE_GRIDS, options.repeats)
    record = {
        **provenance(f"python -m benchmarks.selection --repeats {options.repeats} --threads {options.threads}"),
        "load_before": round(load, 1),
        "flops": CAUSAL_FLOPS,
        "dense": {
            tokens: {"gflops": prefill_tflops([tokens] * 32, DECODER) * 1e3, "mbytes": dense_bytes(tokens) / 1e6}
            for tokens in PICTURE_GRIDS
        },
        "rows": rows,
    }
    print(selection_table(rows))
    write_record(record, options.out)


if __name__ == "__main__":
    main()
