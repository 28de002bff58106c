"""What has to be downloaded before a model can run."""

from __future__ import annotations

from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache

from vscan_core.catalog import MODELS


def download_gb(name: str) -> float:
    """The least that must be fetched from the Hub for a catalogued model, in gigabytes (10^9 bytes); 0: nothing.

    Counted at two bytes per parameter; some checkpoints are stored in float32, which takes twice as much.
    """
    card = MODELS.get(name)
    if card is None or card.random or Path(card.source).exists():
        return 0.0
    there = isinstance(try_to_load_from_cache(card.source, "config.json"), str)
    return 0.0 if there else card.weights_gb(torch.bfloat16)
