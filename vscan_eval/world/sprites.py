"""The emoji artwork: sprite sheets rendered once by `python -m training.artwork`."""

from __future__ import annotations

from functools import lru_cache

from PIL import Image

from vscan_core.resources import asset
from vscan_eval.world.catalog import ARTWORK_KINDS

SPRITE_FOLDER = asset("world")
SPRITE_PIXELS = 128
SPRITE_COLUMNS = 8


@lru_cache
def sprite(style: str, name: str) -> Image.Image:
    """The RGBA picture of one class in one style, SPRITE_PIXELS square."""
    row, column = divmod(ARTWORK_KINDS.index(name), SPRITE_COLUMNS)
    left, top = column * SPRITE_PIXELS, row * SPRITE_PIXELS
    return _sprites_of(style).crop((left, top, left + SPRITE_PIXELS, top + SPRITE_PIXELS))


@lru_cache
def _sprites_of(style: str) -> Image.Image:
    with Image.open(SPRITE_FOLDER / f"{style}.webp") as sprites:
        return sprites.convert("RGBA")
