"""Pictures that are damaged, enormous, or something else than they claim. Each is made when it is needed."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def noise(width: int = 240, height: int = 180, mode: str = "RGB") -> Image.Image:
    """A picture of random pixels, of any mode that Pillow can convert to."""
    pixels = np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def good_picture() -> bytes:
    """A small picture without fault."""
    return encoded(Image.radial_gradient("L").convert("RGB").resize((200, 150)), "PNG")
