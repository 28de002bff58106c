"""Pixels of every mode become opaque 8-bit RGB, a band at a time: what is needed in between is small."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

BAND_PIXELS = 1_000_000
_OF_16_BIT = (np.arange(65536) / 257).astype(np.uint8)


def flattened(image: Image.Image) -> Image.Image:
    """Opaque 8-bit RGB of a picture that has been decoded, in a new picture of the same size.

    Transparent parts become white, and grey of more than 8 bit is scaled to 8 bit.
    """
    shades = _shades(image)
    flat = Image.new("RGB", image.size)
    for top, band in _bands(image):
        flat.paste(_opaque(_eight_bit(band, shades)), (0, top))
    return flat


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Pieces as wide as the picture, with where they begin, from top to bottom."""
    width, height = image.size
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(top + rows, height)))


def _shades(image: Image.Image) -> tuple[float, float] | None:
    """(darkest, lightest) of grey of more than 8 bit; None for all other pictures."""
    if not (image.mode == "F" or image.mode.startswith("I")):
        return None
    if image.mode.startswith("I;16"):
        return 0.0, 65535.0
    greys = (_finite(np.asarray(band)) for _, band in _bands(image))
    ends = [(float(grey.min()), float(grey.max())) for grey in greys]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _finite(grey: np.ndarray) -> np.ndarray:
    """Without what is no number: 0 in its place."""
    if grey.dtype.kind != "f" or np.isfinite(grey).all():
        return grey
    finite: np.ndarray = np.nan_to_num(grey, posinf=0.0, neginf=0.0)
    return finite


def _eight_bit(band: Image.Image, shades: tuple[float, float] | None) -> Image.Image:
    """Scale grey of more than 8 bit to 8 bit; Pillow's own convert would clip it to white.

    65535 -> 255, 32768 -> 127 for 16 bit. 32-bit and floating-point grey has no agreed white point: 0 to 1 is taken
    as such, up to 65535 as 16 bit, and anything else is stretched from its darkest to its lightest pixel.
    """
    if shades is None:
        return band
    raw = np.asarray(band)
    if band.mode.startswith("I;16"):
        eight = _OF_16_BIT[raw]
    else:
        eight = _stretched(_finite(raw).astype(np.float64), shades, band.mode)
    clear = band.info.get("transparency")  # the one shade that is transparent, if any: white, as in `_opaque`
    return Image.fromarray(eight if clear is None else np.where(raw == clear, np.uint8(255), eight))


def _stretched(grey: np.ndarray, shades: tuple[float, float], mode: str) -> np.ndarray:
    low, high = shades
    if mode == "F" and low >= 0 and high <= 1:
        grey *= 255
    elif low >= 0 and high <= 65535:
        grey /= 257
    else:
        grey = (grey - low) / ((high - low) or 1.0) * 255
    return grey.astype(np.uint8)


def _opaque(band: Image.Image) -> Image.Image:
    """RGB without transparency, on a white background."""
    if not band.has_transparency_data:
        return band.convert("RGB")
    layer = (band.convert("LA") if band.mode == "La" else band).convert("RGBA")
    paper = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(paper, layer).convert("RGB")
