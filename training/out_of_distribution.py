"""Pictures from outside the drawn world, to measure how many of them are detected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vscan_eval.world.scene import PICTURE_SIDE


def noise(rng: np.random.Generator) -> Image.Image:
    """Independent random pixels, or coarse random blocks."""
    side = int(rng.choice((8, 24, 84, PICTURE_SIDE)))
    grain = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(grain).resize((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.NEAREST)


def gradient(rng: np.random.Generator) -> Image.Image:
    """A strong colour gradient from one corner to the opposite one."""
    first, last = rng.integers(0, 256, (2, 3))
    ramp = np.add.outer(np.arange(PICTURE_SIDE), np.arange(PICTURE_SIDE)) / (2 * PICTURE_SIDE - 2)
    return Image.fromarray((first + (last - first) * ramp[..., None]).astype(np.uint8))


def clouds(rng: np.random.Generator) -> Image.Image:
    """Smooth random texture over several scales, with the statistics of many photographs."""
    total = np.zeros((PICTURE_SIDE, PICTURE_SIDE, 3))
    for power in range(2, 8):
        grain = rng.normal(size=(2**power, 2**power, 3)) * 2.0 ** (3 - power)
        layers = [
            np.asarray(
                Image.fromarray(grain[..., c].astype(np.float32)).resize(
                    (PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BICUBIC
                )
            )
            for c in range(3)
        ]
        total += np.stack(layers, -1)
    total = (total - total.min()) / np.ptp(total)
    return Image.fromarray((255 * total).astype(np.uint8))


def screenshot(rng: np.random.Generator) -> Image.Image:
    """A window with a bar, a side panel and lines of text."""
    dark = rng.random() < 0.5
    paper, ink = ((28, 30, 36), (220, 220, 220)) if dark else ((252, 252, 252), (30, 30, 30))
    picture = Image.new("RGB", (PICTURE_SIDE, PICTURE_SIDE), paper)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, PICTURE_SIDE, 26), fill=tuple(int(v) for v in rng.integers(60, 200, 3)))
    pen.rectangle((0, 26, 70, PICTURE_SIDE), fill=tuple(int(v * 0.9) for v in paper))
    font = ImageFont.load_default(int(rng.integers(9, 14)))
    for line in range(36, PICTURE_SIDE - 12, 16):
        line_words = [
            "".join(chr(int(c)) for c in rng.integers(97, 123, rng.integers(2, 9))) for _ in range(rng.integers(2, 9))
        ]
        pen.text((80, line), " ".join(line_words), fill=ink, font=font)
    return picture


MADE: dict[str, Callable[[np.random.Generator], Image.Image]] = {
    "noise": noise,
    "gradient": gradient,
    "clouds": clouds,
    "screenshot": screenshot,
}


def out_of_distribution(count: int, photographs: Path | None) -> dict[str, list[Image.Image]]:
    """Pictures by kind; photographs come from a folder, each whole and as two crops."""
    found = {kind: [make(np.random.default_rng(i)) for i in range(count)] for kind, make in MADE.items()}
    if photographs:
        paths = sorted(path for path in photographs.iterdir() if path.suffix in (".jpg", ".jpeg", ".png"))
        whole = [Image.open(path).convert("RGB") for path in paths]
        found["photograph"] = whole
        found["crop of a photograph"] = [crop for picture in whole for crop in _crops(picture)]
    return found


def _crops(picture: Image.Image) -> list[Image.Image]:
    """Upper left and lower right part, each two thirds of the picture."""
    wide, high = picture.size
    return [
        picture.crop((0, 0, wide * 2 // 3, high * 2 // 3)),
        picture.crop((wide // 3, high // 3, wide, high)),
    ]
