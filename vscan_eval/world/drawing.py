"""From facts to pixels: backgrounds, shapes, signs, emoji sprites, and which thing owns which patch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vscan_eval.world.catalog import BACKGROUNDS, COLOUR_VALUES
from vscan_eval.world.scene import GRID_SIDE, PATCH, PICTURE_SIDE, Scene, Thing
from vscan_eval.world.sprites import SPRITE_PIXELS, sprite

GROUND = {"grass": (178, 216, 150), "sand": (238, 222, 178), "water": (160, 205, 226)}
COVERED = 0.3  # a patch belongs to a thing that covers this share of it


@dataclass(frozen=True)
class DrawnScene:
    """A drawn scene: pixels (336, 336, 3) uint8 and patch owners (576,), thing index + 1 or 0."""

    pixels: np.ndarray
    owner: np.ndarray


def draw_scene(scene: Scene) -> DrawnScene:
    """Draw a scene; the same scene always gives the same pixels."""
    rng = np.random.default_rng([scene.seed, 7])
    canvas = background(scene.background, rng)
    owner = np.zeros((PICTURE_SIDE, PICTURE_SIDE), np.int64)
    for index, thing in enumerate(scene.things, 1):
        stamp = _stamp(thing, rng)
        left, top = (round(c - s / 2) for c, s in zip(thing.centre, stamp.size, strict=True))
        canvas.paste(stamp, (left, top), stamp)
        _claim(owner, np.asarray(stamp)[..., 3] > 127, left, top, index)
    return DrawnScene(np.asarray(canvas), patch_owner(owner, len(scene.things)))


def _claim(owner: np.ndarray, solid: np.ndarray, left: int, top: int, index: int) -> None:
    """Write the index where a stamp is solid and inside the picture."""
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + solid.shape[1], PICTURE_SIDE), min(top + solid.shape[0], PICTURE_SIDE)
    owner[y0:y1, x0:x1][solid[y0 - top : y1 - top, x0 - left : x1 - left]] = index


def patch_owner(owner: np.ndarray, things: int) -> np.ndarray:
    """Pixel owners (336, 336) -> patch owners (576,): the thing that covers most, if it covers enough."""
    tiles = owner.reshape(GRID_SIDE, PATCH, GRID_SIDE, PATCH).transpose(0, 2, 1, 3).reshape(GRID_SIDE * GRID_SIDE, -1)
    share = np.stack([(tiles == index).mean(1) for index in range(1, things + 1)], 1)  # (576, things)
    return np.where(share.max(1) >= COVERED, share.argmax(1) + 1, 0)


def _stamp(thing: Thing, rng: np.random.Generator) -> Image.Image:
    if thing.word:
        return sign(thing.word, thing.size, rng)
    source = shape(thing, rng) if thing.colour else sprite(thing.style, thing.name)
    if thing.flipped:
        source = source.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    rotated = source.rotate(thing.angle, Image.Resampling.BILINEAR)
    return rotated.resize((thing.size, thing.size), Image.Resampling.BILINEAR, reducing_gap=2.0)


def shape(thing: Thing, rng: np.random.Generator) -> Image.Image:
    """A coloured shape with a darker rim, at sprite size."""
    side, rim = SPRITE_PIXELS, 6
    base = np.clip(np.array(COLOUR_VALUES[thing.colour or "red"]) + rng.integers(-12, 13, 3), 0, 255)
    fill, edge = tuple(int(v) for v in base), tuple(int(v * 0.7) for v in base)
    picture = Image.new("RGBA", (side, side), (*fill, 0))
    pen = ImageDraw.Draw(picture)
    box = (8, 8, side - 8, side - 8)
    if thing.name == "ball":
        pen.ellipse(box, fill=fill, outline=edge, width=rim)
        shine = tuple((v + 255) // 2 for v in fill)
        pen.ellipse((side * 0.25, side * 0.2, side * 0.45, side * 0.38), fill=shine)
    elif thing.name == "square":
        pen.rectangle((14, 14, side - 14, side - 14), fill=fill, outline=edge, width=rim)
    elif thing.name == "ring":
        pen.ellipse(box, fill=fill, outline=edge, width=rim)
        pen.ellipse((side * 0.3, side * 0.3, side * 0.7, side * 0.7), fill=(*fill, 0), outline=edge, width=rim)
    else:
        outline = [(x * (side - 16) + 8, y * (side - 16) + 8) for x, y in _outline(thing.name)]
        pen.polygon(outline, fill=fill)
        pen.line([*outline, outline[0], outline[1]], fill=edge, width=rim, joint="curve")
    return picture


def _outline(name: str) -> list[tuple[float, float]]:
    """Corner points in the unit square, y down."""
    if name == "triangle":
        return [(0.5, 0.02), (1.0, 0.95), (0.0, 0.95)]
    if name == "diamond":
        return [(0.5, 0.0), (0.85, 0.5), (0.5, 1.0), (0.15, 0.5)]
    if name == "cross":
        a, b = 0.33, 0.67
        return [(a, 0), (b, 0), (b, a), (1, a), (1, b), (b, b), (b, 1), (a, 1), (a, b), (0, b), (0, a), (a, a)]
    if name == "star":
        turns = np.arange(10) * np.pi / 5 - np.pi / 2
        radius = np.where(np.arange(10) % 2 == 0, 0.5, 0.22)
        return [(0.5 + r * np.cos(t), 0.53 + r * np.sin(t)) for r, t in zip(radius, turns, strict=True)]
    turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)  # heart
    x = 16 * np.sin(turns) ** 3
    y = 13 * np.cos(turns) - 5 * np.cos(2 * turns) - 2 * np.cos(3 * turns) - np.cos(4 * turns)
    return [(0.5 + a / 33, 0.46 - b / 33) for a, b in zip(x, y, strict=True)]


@lru_cache(128)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def sign(text: str, size: int, rng: np.random.Generator) -> Image.Image:
    """A board with a word in capitals or a number; as wide as `size`, a little over half as high."""
    height = int(size * 0.56)
    picture = Image.new("RGBA", (size, height))
    pen = ImageDraw.Draw(picture)
    board, ink = ((255, 255, 255), (20, 20, 20)) if rng.random() < 0.6 else ((30, 60, 120), (255, 255, 255))
    rim = max(2, size // 30)
    pen.rounded_rectangle((0, 0, size - 1, height - 1), size // 12, fill=board, outline=ink, width=rim)
    points = int(height * 0.85)
    while pen.textlength(text.upper(), font=_font(points)) > size - 3 * rim - 4:
        points -= 1
    pen.text((size / 2, height / 2), text.upper(), fill=ink, font=_font(points), anchor="mm")
    return picture


def background(kind: int, rng: np.random.Generator) -> Image.Image:
    """One of the pale backgrounds; things stay the only saturated parts of a picture."""
    pale = tuple(int(v) for v in rng.integers(200, 250, 3))
    picture = Image.new("RGB", (PICTURE_SIDE, PICTURE_SIDE), pale)
    pen = ImageDraw.Draw(picture)
    horizon = int(rng.integers(150, 250))
    name = BACKGROUNDS[kind]
    if name == "plain" and rng.random() < 0.5:
        return _fading(np.array(pale), rng.integers(190, 250, 3))
    if name in GROUND:  # under a sky
        pen.rectangle((0, 0, PICTURE_SIDE, PICTURE_SIDE), fill=(206, 230, 246))
        pen.rectangle((0, horizon, PICTURE_SIDE, PICTURE_SIDE), fill=GROUND[name])
    elif name == "floor":  # and a wall
        pen.rectangle((0, horizon, PICTURE_SIDE, PICTURE_SIDE), fill=tuple(max(v - 40, 0) for v in pale))
        pen.line((0, horizon, PICTURE_SIDE, horizon), fill=(250, 250, 250), width=5)
    elif name == "stripes":
        for x in range(0, PICTURE_SIDE, 48):
            pen.rectangle((x, 0, x + 23, PICTURE_SIDE), fill=tuple(v - 12 for v in pale))
    elif name == "hills":
        for _ in range(3):
            x, y = int(rng.integers(0, PICTURE_SIDE)), int(rng.integers(200, 300))
            pen.ellipse((x - 180, y, x + 180, y + 300), fill=tuple(int(v) for v in rng.integers(180, 225, 3)))
    return picture


def _fading(top: np.ndarray, bottom: np.ndarray) -> Image.Image:
    """A picture that goes from one colour to another, downwards."""
    rows = np.linspace(0, 1, PICTURE_SIDE)[:, None, None]
    values = top * (1 - rows) + bottom * rows
    return Image.fromarray(np.broadcast_to(values, (PICTURE_SIDE, PICTURE_SIDE, 3)).astype(np.uint8))
