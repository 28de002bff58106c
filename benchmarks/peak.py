"""Peak memory of one answer, baseline and VScan, each in its own process.

python -m benchmarks.peak [--models dummy:llava-small,...] [--threads 1] [--out assets/recorded/NAME.json]

The figure is the largest number of bytes held at once by tensors created during the run, from a dispatch mode that
intercepts every operator. It is reproducible; weights, and scratch memory inside an operator, are excluded. Resident
memory would be no substitute: what the allocator retains varies by more than the methods differ.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import vscan_core as vc
from benchmarks.provenance import write_record
from vscan_core.bench.memory import Tally
from vscan_core.bench.record import provenance
from vscan_core.bench.subject import QUESTION
from vscan_core.catalog import SMALL

CONFIGURATIONS: dict[str, vc.Reducer | None] = {
    "baseline": None,
    "1/3": vc.VScan(retention=1 / 3),
    "2/9": vc.VScan(retention=2 / 9),
    "1/9": vc.VScan(retention=1 / 9),
}
SIZE = (400, 300)


def peak_bytes(lvlm: vc.LVLM, reducer: vc.Reducer | None) -> int:
    """Peak bytes of one answer of two tokens, after one warm-up run."""
    image = Image.effect_noise(SIZE, 80).convert("RGB")

    def run() -> None:
        list(vc.answer(lvlm, image, QUESTION, reducer, max_new_tokens=2))

    run()
    with Tally() as tally:
        run()
    return tally.peak


def in_its_own_process(model: str, name: str, threads: int) -> int:
    """`peak_bytes`, measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.peak", "--child", model, name, "--threads", str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1])


def peak_table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, in MiB."""
    head = ["| model | " + " | ".join(CONFIGURATIONS) + " |", "|---|" + "--:|" * len(CONFIGURATIONS)]
    lines = []
    for row in rows:
        cells = " | ".join(f"{row['bytes'][name] / 2**20:.1f}" for name in CONFIGURATIONS)
        lines.append(f"| `{row['model']}` | {cells} |")
    return "\n".join([*head, *lines])


def main(argv: list[str] | None = None) -> None:
    """Measure, print, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(SMALL))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs=2, metavar=("MODEL", "RUN"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    if options.child:
        model, name = options.child
        print(peak_bytes(vc.load_model(model, device="cpu"), CONFIGURATIONS[name]))
        return
    rows = []
    for model in options.models.split(","):
        found = {name: in_its_own_process(model, name, options.threads) for name in CONFIGURATIONS}
        rows.append({"model": model, "bytes": found})
    record = {
        **provenance(f"python -m benchmarks.peak --models {options.models} --threads {options.threads}"),
        "dtype": "float32",
        "attention": "sdpa",
        "picture": f"{SIZE[0]} x {SIZE[1]}",
        "rows": rows,
    }
    print(peak_table(rows))
    write_record(record, options.out)


if __name__ == "__main__":
    main()
