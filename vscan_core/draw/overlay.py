"""What became of every visual token, painted on the picture. Pure PIL and numpy; no model, no plots, no widgets.

    fate = fates(trace.images[0])                               # read from the trace, nothing is planned or guessed
    picture = draw(canvas(original), trace.boxes(0), fate, upright_size(original))

Colours are safe for colour-blind readers, and every fate also has a shape of its own: a square frame (global), a
ring (local), a dot (merged), nothing but shade (dropped), diagonal hatching (dropped inside the language model).
Where tokens lie over each other, as in a picture that is seen whole and in tiles, the finest is drawn on top.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from math import isnan

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from vscan_core.media.images import as_rgb
from vscan_core.trace import Cut, ImageTrace

SIDE = 1008  # longer side of what is drawn, pixels: 24 patches of 42

Colour = tuple[int, int, int, int]
Box = tuple[float, float, float, float]


class Fate(IntEnum):
    """What can become of a visual token."""

    GLOBAL = 0  # kept: important for the picture as a whole
    LOCAL = 1  # kept: important in its own neighbourhood
    KEPT = 2  # kept for another reason, or because nothing was cut
    MERGED = 3  # dropped before the language model, averaged into a kept token
    DROPPED = 4  # dropped before the language model
    PRUNED = 5  # dropped inside the language model


FILL: dict[Fate, Colour] = {
    Fate.GLOBAL: (255, 236, 205, 60),
    Fate.LOCAL: (222, 238, 255, 105),
    Fate.KEPT: (255, 255, 255, 0),
    Fate.MERGED: (84, 108, 94, 158),
    Fate.DROPPED: (28, 30, 36, 178),
    Fate.PRUNED: (28, 30, 36, 120),
}
INK: dict[Fate, Colour] = {
    Fate.GLOBAL: (255, 140, 0, 255),
    Fate.LOCAL: (0, 92, 214, 255),
    Fate.KEPT: (255, 255, 255, 150),
    Fate.MERGED: (214, 236, 222, 120),
    Fate.DROPPED: (28, 30, 36, 0),
    Fate.PRUNED: (255, 255, 255, 200),
}


@dataclass(frozen=True)
class Fates:
    """The fate of each visual token of one image, and the counts that a legend needs."""

    codes: NDArray[np.uint8]  # (tokens,) Fate values
    pruned_at: dict[int, int]  # {decoder layer: tokens dropped at its entrance}

    def count(self, fate: Fate) -> int:
        """Number of tokens with this fate."""
        return int((self.codes == fate).sum())

    @property
    def kept(self) -> int:
        """Number of tokens that are still there."""
        return self.count(Fate.GLOBAL) + self.count(Fate.LOCAL) + self.count(Fate.KEPT)


def fates(image: ImageTrace, cuts: int | None = None) -> Fates:
    """Read the fates after the first `cuts` cuts (None: after all of them) from what was recorded."""
    codes = np.full(image.tokens, Fate.KEPT, np.uint8)
    alive = np.ones(image.tokens, bool)
    pruned_at: dict[int, int] = {}
    for cut in image.cuts[:cuts]:
        stays = np.zeros(image.tokens, bool)
        stays[cut.kept.cpu().numpy()] = True
        if cut.layer == 0:
            codes = _at_the_entrance(cut, stays)
        else:
            gone = alive & ~stays
            codes = np.where(gone, np.uint8(Fate.PRUNED), codes)
            pruned_at[cut.layer] = int(gone.sum())
        alive &= stays
    return Fates(codes, pruned_at)


def _at_the_entrance(cut: Cut, stays: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fates after cut 0; a token that is both local and global counts as global."""
    codes = np.full(len(stays), Fate.KEPT, np.uint8)
    for name, fate in (("local", Fate.LOCAL), ("global", Fate.GLOBAL)):
        if name in cut.labels:
            codes[cut.labels[name].cpu().numpy()] = fate
    merged = cut.merged_into.cpu().numpy() >= 0
    codes[~stays] = Fate.DROPPED
    codes[merged & ~stays] = Fate.MERGED
    return codes


def canvas(picture: Image.Image) -> Image.Image:
    """The picture as a model sees it, upright, at drawing size: its longer side becomes SIDE pixels."""
    upright = as_rgb(picture)
    scale = SIDE / max(upright.size)
    size = (max(round(upright.width * scale), 1), max(round(upright.height * scale), 1))
    return upright.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def draw(canvas: Image.Image, boxes: Tensor, fate: Fates, original: tuple[int, int]) -> Image.Image:
    """Paint the fates on `canvas`; `boxes` (tokens, 4) are in pixels of the upright `original` (width, height)."""
    return _paint(canvas, boxes, original, fate.codes, _mark)


def heat(canvas: Image.Image, boxes: Tensor, scores: Tensor, original: tuple[int, int]) -> Image.Image:
    """Paint scores (tokens,) from dark blue (lowest) to yellow (highest); tokens without a score stay shaded.

    The scale ends at the 99th percentile: attention has a few huge values that would leave the rest black.
    """
    values = scores.detach().float().cpu().numpy()
    known = np.isfinite(values)
    levels = np.full(len(values), -1.0)
    if known.any():
        low, high = values[known].min(), np.percentile(values[known], 99)
        levels[known] = np.clip((values[known] - low) / max(high - low, 1e-12), 0, 1)
    return _paint(canvas, boxes, original, levels, _glow)


def _paint(
    canvas: Image.Image,
    boxes: Tensor,
    original: tuple[int, int],
    values: NDArray[np.uint8] | NDArray[np.float64],
    pen: Callable[[ImageDraw.ImageDraw, Box, float], None],
) -> Image.Image:
    """Lay one semi-transparent sheet, drawn box by box, over the canvas; unseen parts of the picture turn grey."""
    scale = np.array([canvas.width / original[0], canvas.height / original[1]] * 2)
    corners = boxes.detach().float().cpu().numpy() * scale
    sheet = Image.new("RGBA", canvas.size, (128, 128, 128, 215))  # what the model never saw
    pencil = ImageDraw.Draw(sheet)
    for token in coarse_first(boxes):
        x0, y0, x1, y1 = corners[token].tolist()
        left, top = round(x0), round(y0)  # at least one pixel, however thin the picture
        pen(pencil, (left, top, max(round(x1) - 1, left), max(round(y1) - 1, top)), values[token])
    return Image.alpha_composite(canvas.convert("RGBA"), sheet).convert("RGB")


def coarse_first(boxes: Tensor) -> list[int]:
    """Tokens that cover pixels, those with clearly larger boxes (tokens, 4) first; newlines are left out.

    Boxes of 9, NaN, 4 and 9 square pixels -> [0, 3, 2].
    """
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    seen = area[~area.isnan()]
    fine = area < 1.2 * (seen.min() if len(seen) else 0)  # rounding apart, as small as the smallest
    order: list[int] = fine.long().argsort(stable=True).tolist()
    return [token for token in order if not isnan(area[token])]


def _mark(pencil: ImageDraw.ImageDraw, box: Box, value: float) -> None:
    """One token in the colour and shape of its fate."""
    fate = Fate(int(value))
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
