"""Record the examples of the demonstration with the embedded model, so that they can be shown before anything has run.

python -m benchmarks.record_examples [--rounds 5] [--threads N] [--out assets/recorded/runs]

One folder per example, in the format of docs/recording.md. Run it on a quiet machine: the load is noted.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch

import vscan_core as vc
from benchmarks.choose_examples import PEERS
from vscan_core.bench.record import provenance
from vscan_core.recording import record, save_recording
from vscan_core.recording.recorder import ROUNDS
from vscan_core.resources import asset


def main(argv: list[str] | None = None) -> None:
    """Record all examples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("assets/recorded/runs"))
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    lvlm = vc.load_model("mini", device="cpu")
    command = f"python -m benchmarks.record_examples --rounds {options.rounds} --threads {options.threads}"
    facts = {**provenance(command), "load_before": round(os.getloadavg()[0], 1)}
    for row in json.loads(asset("examples", "examples.json").read_text(encoding="utf-8")):
        methods = [vc.REDUCERS[name](row["retention"]) for name in PEERS]
        picture = vc.open_image(asset("examples", row["image"]))
        found = record(lvlm, picture, row["question"], methods, rounds=options.rounds, facts=facts, note=row["note"])
        save_recording(found, options.out / Path(row["image"]).stem)
        print(row["image"], *(f"{run.answer.method}: {run.answer.text}" for run in found.runs), sep="  ", flush=True)


if __name__ == "__main__":
    main()
