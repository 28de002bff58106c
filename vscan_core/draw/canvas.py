"""What token maps are painted on: a picture, or the frames of a video side by side in one picture."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isnan, sqrt

import torch
from PIL import Image
from torch import Tensor

from vscan_core.media.images import as_rgb, upright_size
from vscan_core.media.videos import Video
from vscan_core.trace import ImageTrace

SIDE = 1008  # longer side of what is drawn, pixels: 24 patches of 42
GAP, CAPTION = 8, 32  # pixels: between frames, height of a caption
PAPER = (250, 250, 250)


@dataclass(frozen=True, eq=False)
class Canvas:
    """A picture at drawing size, and where its visual tokens are in it."""

    picture: Image.Image
    boxes: Tensor  # (tokens, 4) x0, y0, x1, y1 in pixels of `picture`; NaN for tokens without a place (CLS, newlines)
    cells: tuple[tuple[int, int, int, int], ...] = ()  # of a video: where each tile's frame is
    times: tuple[str, ...] = ()  # of a video: when each tile's frames are shown

    def token_at(self, x: float, y: float) -> int | None:
        """The token drawn on top at a point of `picture`; None where the model saw nothing."""
        left, top, right, bottom = self.boxes.unbind(1)
        hits = (left <= x) & (x < right) & (top <= y) & (y < bottom)
        return next((token for token in reversed(coarse_first(self.boxes)) if hits[token]), None)


def canvas_of(source: Image.Image | Video, trace: ImageTrace, boxes: Tensor) -> Canvas:
    """The canvas of a picture or a video; boxes (tokens, 4) are in its own pixels, as `Trace.boxes` gives them."""
    if isinstance(source, Video):
        return _frames(source, trace, boxes)
    picture = at_drawing_size(source)
    return Canvas(picture, _scaled(boxes, upright_size(source), picture.size))


def at_drawing_size(picture: Image.Image) -> Image.Image:
    """The picture as a model sees it, upright; its longer side becomes SIDE pixels."""
    upright = as_rgb(picture)
    scale = SIDE / max(upright.size)
    size = (max(round(upright.width * scale), 1), max(round(upright.height * scale), 1))
    return upright.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def coarse_first(boxes: Tensor) -> list[int]:
    """Tokens that cover pixels, those with clearly larger boxes (tokens, 4) first; newlines are left out.

    Boxes of 9, NaN, 4 and 9 square pixels -> [0, 3, 2].
    """
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    seen = area[~area.isnan()]
    fine = area < 1.2 * (seen.min() if len(seen) else 0)  # rounding apart, as small as the smallest
    order: list[int] = fine.long().argsort(stable=True).tolist()
    return [token for token in order if not isnan(area[token])]


def _frames(video: Video, trace: ImageTrace, boxes: Tensor) -> Canvas:
    """One cell per tile; of several frames in a tile (two in the Qwen families), the first is shown."""
    across = ceil(sqrt(trace.tiles))
    width = (SIDE - GAP * (across - 1)) // across
    height = max(round(width * video.size[1] / video.size[0]), 1)
    corners = [(i % across * (width + GAP), i // across * (height + CAPTION + GAP)) for i in range(trace.tiles)]
    picture = Image.new("RGB", (SIDE, corners[-1][1] + height + CAPTION), PAPER)
    times = []
    for tile, corner in enumerate(corners):
        frames = trace.frames_of(tile)
        picture.paste(video.frames[frames[0]].resize((width, height), Image.Resampling.BICUBIC), corner)
        times.append(" + ".join(f"{video.times[frame]:.1f}" for frame in frames) + " s")
    shift = torch.tensor(corners)[trace.tile_of.clamp(min=0)].repeat(1, 2)
    cells = tuple((x, y, x + width, y + height) for x, y in corners)
    return Canvas(picture, _scaled(boxes, video.size, (width, height)) + shift, cells, tuple(times))


def _scaled(boxes: Tensor, original: tuple[int, int], drawn: tuple[int, int]) -> Tensor:
    """Boxes (tokens, 4) in pixels of the drawn size instead of the original one, as float64."""
    scale = [drawn[0] / original[0], drawn[1] / original[1]] * 2
    return boxes.detach().cpu().double() * torch.tensor(scale, dtype=torch.float64)
