"""Write the newest checkpoint of the joint stage as a model folder: python -m training.export --to assets/mini.

With --text-half, only the text half, into the folder `text_half` of that model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from training import stage
from training.model import build_model, export
from training.text_half import export_text_half
from vscan_core.checkpoints import hashes


def main() -> None:
    """Load the checkpoint; save it in half precision with processor, tokenizer and the hashes of all files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=Path("assets/mini"))
    parser.add_argument("--text-half", action="store_true", help="the newest checkpoint of that stage instead")
    arguments = parser.parse_args()
    if arguments.text_half:
        export_text_half(arguments.to)
        hashes.write(arguments.to)
        return
    state = torch.load(stage.RUNS_FOLDER / "joint" / "checkpoint.pt", weights_only=False)
    model = build_model()
    model.load_state_dict(state["model"])
    export(model, arguments.to)
    hashes.write(arguments.to)
    print(f"step {state['step']}, {state['seconds']:.0f} s -> {arguments.to}")


if __name__ == "__main__":
    main()
