"""Command line: python -m training.train --stage language --minutes 40 --resume."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import torch

TRAINING_STAGES = ("language", "vision", "projector", "joint", "text_half")


def main() -> None:
    """Run one stage for the given time; stages build on each other's checkpoints under runs/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", choices=TRAINING_STAGES, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--warm-start", type=Path, help="folder of an older model to start from (all stages but joint)")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    stage = importlib.import_module(f"training.stage_{arguments.stage}")
    stage.train(arguments.minutes, arguments.resume, arguments.warm_start)


if __name__ == "__main__":
    main()
