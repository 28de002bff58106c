"""The emoji artwork, rendered once by `python -m training.artwork`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

SPRITES = Path(__file__).resolve().parents[2] / "training" / "artwork" / "sprites.npz"
SPRITE_PIXELS = 144


@lru_cache(1)
def sprites() -> dict[str, np.ndarray]:
    """All emoji sprites by "style/name", read once."""
    if not SPRITES.exists():
        raise FileNotFoundError(f"{SPRITES} is missing; run python -m training.artwork first")
    with np.load(SPRITES) as stored:
        return {key: stored[key] for key in stored.files}
