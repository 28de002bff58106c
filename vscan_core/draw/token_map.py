"""The token map: a picture or a video with its visual tokens marked. Pure PIL and numpy; no model, no widgets.

    trace = answer.trace
    picture = token_map(original, trace.images[0], trace.boxes(0), fates(trace.images[0]))

Colours are safe for colour-blind readers, and every fate also has a shape of its own: a square frame (global), a
ring (local), a dot (merged), nothing but shade (dropped), diagonal hatching (dropped inside the language model). A
diamond marks a kept place at which the language model sees another token.
Where tokens lie over each other, as in a picture that is seen whole and in tiles, the finest is drawn on top.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vscan_core.draw.canvas import CAPTION, PAPER, Canvas, canvas_of, coarse_first
from vscan_core.draw.fates import Fate, Fates
from vscan_core.media.videos import Video
from vscan_core.trace import ImageTrace

Colour = tuple[int, int, int, int]
Box = tuple[float, float, float, float]

UNSEEN: Colour = (128, 128, 128, 215)  # parts of the picture that the model never saw
LETTER, LETTERS = 21, (30, 30, 36)  # of a caption: size in pixels, colour
FILL: dict[Fate, Colour] = {
    Fate.GLOBAL: (255, 236, 205, 60),
    Fate.LOCAL: (222, 238, 255, 105),
    Fate.KEPT: (255, 255, 255, 0),
    Fate.MERGED: (84, 108, 94, 158),
    Fate.DROPPED: (28, 30, 36, 178),
    Fate.PRUNED: (28, 30, 36, 120),
}
REPLACED: Colour = (204, 121, 167, 255)
INK: dict[Fate, Colour] = {
    Fate.GLOBAL: (255, 140, 0, 255),
    Fate.LOCAL: (0, 92, 214, 255),
    Fate.KEPT: (255, 255, 255, 150),
    Fate.MERGED: (214, 236, 222, 120),
    Fate.DROPPED: (28, 30, 36, 0),
    Fate.PRUNED: (255, 255, 255, 200),
}


def token_map(
    source: Image.Image | Video, trace: ImageTrace, boxes: Tensor, marks: Fates | Tensor | None = None
) -> Image.Image:
    """Draw a picture, or the frames of a video side by side, with its visual tokens marked.

    Args:
        source: What the model looked at.
        trace: Its trace.
        boxes: (tokens, 4) boxes of the tokens in pixels of `source`, as `Trace.boxes` gives them.
        marks: Fates paint what became of each token. Scores (tokens,) paint a heat map from dark blue (lowest) to
            yellow (highest) in which tokens without a score (NaN) are shaded. None marks nothing.

    Returns:
        RGB, 1008 pixels on the longer side of a picture and across a video, whose frames have captions.
    """
    canvas = canvas_of(source, trace, boxes)
    picture = canvas.picture
    if isinstance(marks, Fates):
        picture = _painted(canvas, list(zip(marks.codes, marks.replaced, strict=True)), _mark)
    elif marks is not None:
        picture = _painted(canvas, _levels(marks), _glow)
    if not canvas.cells:
        return picture
    return _captioned(canvas, picture, trace, marks if isinstance(marks, Fates) else None)


def _levels(scores: Tensor) -> NDArray[np.float64]:
    """Scores (tokens,) from 0 to 1, or -1 where there is none.

    The scale ends at the 99th percentile: attention has a few huge values that would leave the rest black.
    """
    values = scores.detach().float().cpu().numpy()
    known = np.isfinite(values)
    levels = np.full(len(values), -1.0)
    if known.any():
        low, high = values[known].min(), np.percentile(values[known], 99)
        levels[known] = np.clip((values[known] - low) / max(high - low, 1e-12), 0, 1)
    return levels


def _painted(
    canvas: Canvas, values: Sequence[Any] | NDArray[Any], pen: Callable[[ImageDraw.ImageDraw, Box, Any], None]
) -> Image.Image:
    """Lay one semi-transparent layer, drawn box by box, over the canvas; unseen parts turn grey."""
    layer = Image.new("RGBA", canvas.picture.size, UNSEEN)
    pencil, corners = ImageDraw.Draw(layer), canvas.boxes.numpy()
    for token in coarse_first(canvas.boxes):
        x0, y0, x1, y1 = corners[token].tolist()
        left, top = round(x0), round(y0)  # at least one pixel, however thin the picture
        pen(pencil, (left, top, max(round(x1) - 1, left), max(round(y1) - 1, top)), values[token])
    return Image.alpha_composite(canvas.picture.convert("RGBA"), layer).convert("RGB")


def _captioned(canvas: Canvas, painted: Image.Image, trace: ImageTrace, fates: Fates | None) -> Image.Image:
    """Frames as painted, on clean paper; below each its time, and with `fates` how many of its tokens are left."""
    captions = list(canvas.times)
    if fates is not None:
        left, total = _per_tile(trace, fates.alive), _per_tile(trace, np.ones_like(fates.alive))
        captions = [f"{time}: {some} of {tokens}" for time, some, tokens in zip(captions, left, total, strict=True)]
    picture = Image.new("RGB", canvas.picture.size, PAPER)
    pencil, width = ImageDraw.Draw(picture), canvas.cells[0][2]
    font = ImageFont.load_default(max(10, min(LETTER, width // 14)))  # a caption has up to 25 letters
    for cell, caption in zip(canvas.cells, captions, strict=True):
        picture.paste(painted.crop(cell), cell[:2])
        pencil.text((cell[0] + 2, cell[3] + CAPTION // 2), caption, LETTERS, font, anchor="lm")
    return picture


def _per_tile(trace: ImageTrace, counted: NDArray[np.bool_]) -> list[int]:
    """How many of the `counted` tokens (tokens,) each tile has."""
    tiles = trace.tile_of.numpy()
    numbers: list[int] = np.bincount(tiles[counted & (tiles >= 0)], minlength=trace.tiles).tolist()
    return numbers


def _mark(pencil: ImageDraw.ImageDraw, box: Box, value: tuple[int, bool]) -> None:
    """One token in the colour and shape of its fate; `value`: the fate, and whether another token is seen there."""
    fate = Fate(int(value[0]))
    x0, y0, x1, y1 = box
    side = min(x1 - x0, y1 - y0)
    line = max(round(side / 11), 1)
    pencil.rectangle(box, fill=FILL[fate])
    if fate is Fate.GLOBAL:
        pencil.rectangle(_inset(box, 1), outline=INK[fate], width=line)
    elif fate is Fate.LOCAL:
        pencil.ellipse(_inset(box, side * 0.12), outline=INK[fate], width=line)
    elif fate is Fate.KEPT:
        pencil.rectangle(_inset(box, 1), outline=INK[fate])
    elif fate is Fate.MERGED:
        pencil.ellipse(_inset(box, side * 0.42), fill=INK[fate])
    elif fate is Fate.PRUNED:
        for share in (0.5, 1.0, 1.5):
            ends = (x0 + (x1 - x0) * min(share, 1), y0 + (y1 - y0) * max(share - 1, 0))
            starts = (x0 + (x1 - x0) * max(share - 1, 0), y0 + (y1 - y0) * min(share, 1))
            pencil.line([starts, ends], fill=INK[fate], width=max(line // 2, 1))
    if value[1]:
        x, y, reach = (x0 + x1) / 2, (y0 + y1) / 2, side * 0.38
        corners = [(x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y)]
        pencil.line([*corners, corners[0], corners[1]], fill=REPLACED, width=line, joint="curve")


def _inset(box: Box, by: float) -> Box:
    """The box, smaller by `by` pixels on every side, never turned inside out."""
    x0, y0, x1, y1 = box
    by = min(by, (x1 - x0) / 2, (y1 - y0) / 2)
    return (x0 + by, y0 + by, x1 - by, y1 - by)


_VIRIDIS = ((68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141), (39, 173, 129), (92, 200, 99),
            (170, 220, 50), (253, 231, 37))  # fmt: skip


def _glow(pencil: ImageDraw.ImageDraw, box: Box, level: float) -> None:
    """One token in the colour of its score; -1 means that it has none."""
    if level < 0:
        pencil.rectangle(box, fill=FILL[Fate.DROPPED])
        return
    place = level * (len(_VIRIDIS) - 1)
    left = min(int(place), len(_VIRIDIS) - 2)
    part = place - left
    r, g, b = (round(a + (z - a) * part) for a, z in zip(_VIRIDIS[left], _VIRIDIS[left + 1], strict=True))
    pencil.rectangle(box, fill=(r, g, b, 172))
