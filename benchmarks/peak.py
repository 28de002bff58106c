"""Peak memory of one answer, baseline against VScan, each in a process of its own.

python -m benchmarks.peak [--models dummy:llava-small,...] [--threads 1] [--out benchmarks/results/NAME.json]

Two figures per run, the second run of its shape in its process: `tensors`, the most bytes that tensors made during
the run hold at once, from a dispatch mode that sees every operator; it repeats exactly, and leaves out weights and
scratch memory inside an operator. `process`, the high-water mark of the process's resident memory over what it held
before the run, from the system; it takes in everything, and depends on the allocator.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image

import vscan_core as vc
from benchmarks.selection import Tally
from vscan_core.dummies.shapes import SMALL
from vscan_core.measure import PeakMemory

RUNS: dict[str, vc.Reducer | None] = {
    "baseline": None,
    "1/3": vc.VScan(retention=1 / 3),
    "2/9": vc.VScan(retention=2 / 9),
    "1/9": vc.VScan(retention=1 / 9),
}
QUESTION = "Is there a cat in the picture?"
SIZE = (400, 300)


def measured(lvlm: vc.LVLM, reducer: vc.Reducer | None) -> dict[str, int]:
    """Bytes of one answer of two tokens; the run before it maps memory and chooses kernels."""
    image = Image.effect_noise(SIZE, 80).convert("RGB")

    def run() -> None:
        list(vc.answer(lvlm, image, QUESTION, reducer, max_new_tokens=2))

    run()
    before, memory = _resident(), PeakMemory(lvlm.device)
    run()
    peak = memory.read()
    with Tally() as tally:
        run()
    return {"tensors": tally.peak, "process": (peak or before) - before}


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def in_its_own_process(model: str, name: str, threads: int) -> dict[str, int]:
    """The same, measured by a fresh interpreter."""
    command = [sys.executable, "-m", "benchmarks.peak", "--child", model, name, "--threads", str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, in MiB."""
    head = ["| model | peak of | " + " | ".join(RUNS) + " |", "|---|---|" + "--:|" * len(RUNS)]
    lines = []
    for row in rows:
        for what in ("tensors", "process"):
            cells = " | ".join(f"{row['bytes'][name][what] / 2**20:.1f}" for name in RUNS)
            lines.append(f"| `{row['model']}` | {what} | {cells} |")
    return "\n".join([*head, *lines])


def main(argv: list[str] | None = None) -> None:
    """Measure, print, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(f"dummy:{name}" for name in SMALL))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs=2, metavar=("MODEL", "RUN"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        torch.set_num_threads(options.threads)
        model, name = options.child
        print(json.dumps(measured(vc.load_model(model, device="cpu"), RUNS[name])))
        return
    rows = []
    for model in options.models.split(","):
        found = {name: in_its_own_process(model, name, options.threads) for name in RUNS}
        rows.append({"model": model, "bytes": found})
    record = {
        "command": f"python -m benchmarks.peak --models {options.models} --threads {options.threads}",
        "date": date.today().isoformat(),
        "hardware": f"CPU {platform.machine()}, {os.cpu_count()} cores, {options.threads} threads in use",
        "dtype": "float32",
        "attention": "sdpa",
        "picture": f"{SIZE[0]} x {SIZE[1]}",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "rows": rows,
    }
    print(table(rows))
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
