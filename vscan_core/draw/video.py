"""A video as one picture: its frames side by side, with a caption each, so that what draws a picture draws a video.

    strip = frame_sheet(video, trace.images[0], trace.boxes(0))
    picture = strip.draw(fates(trace.images[0]))

A tile of several frames (two in the Qwen families) shows the first of them; its caption tells the times of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vscan_core.draw import overlay
from vscan_core.draw.overlay import SIDE, Fate, Fates
from vscan_core.media.images import upright_size
from vscan_core.media.videos import Video
from vscan_core.trace import ImageTrace, Trace

GAP, BAR, LETTER = 8, 32, 21  # pixels: between frames, of a caption, of its letters
PAPER, INK = (250, 250, 250), (30, 30, 36)
LIVING = (Fate.GLOBAL, Fate.LOCAL, Fate.KEPT)


@dataclass(frozen=True, eq=False)
class FrameSheet:
    """The frames of a video in one picture, and where its visual tokens are in it."""

    picture: Image.Image
    boxes: Tensor  # (tokens, 4) in pixels of `picture`; NaN where the trace has NaN
    tile: Tensor  # (tokens,) which tile each token is of; -1 for tokens of none (CLS, newlines)
    cells: tuple[tuple[int, int, int, int], ...]  # where each tile's frame is
    times: tuple[str, ...]  # of each tile's frames

    def draw(self, fates: Fates) -> Image.Image:
        """Every frame under its tokens; captions tell what is left of each."""
        return self.captioned(overlay.draw(self.picture, self.boxes, fates, self.picture.size), fates)

    def kept(self, fates: Fates) -> list[int]:
        """Visual tokens of each tile that are still there."""
        alive = torch.isin(torch.from_numpy(fates.codes), torch.tensor([int(fate) for fate in LIVING]))
        return torch.bincount(self.tile[alive & (self.tile >= 0)], minlength=len(self.cells)).tolist()

    def captioned(self, painted: Image.Image, fates: Fates | None = None) -> Image.Image:
        """Frames as painted, on clean paper; below each its time, and with `fates` how many tokens are left of it."""
        captions = list(self.times)
        if fates is not None:
            whole = torch.bincount(self.tile[self.tile >= 0], minlength=len(self.cells)).tolist()
            counts = zip(captions, self.kept(fates), whole, strict=True)
            captions = [f"{time}: {left} of {tokens}" for time, left, tokens in counts]
        sheet = Image.new("RGB", self.picture.size, PAPER)
        pencil, width = ImageDraw.Draw(sheet), self.cells[0][2]
        font = ImageFont.load_default(max(10, min(LETTER, width // 14)))  # a caption has up to 25 letters
        for cell, caption in zip(self.cells, captions, strict=True):
            sheet.paste(painted.crop(cell), cell[:2])
            pencil.text((cell[0] + 2, cell[3] + BAR // 2), caption, INK, font, anchor="lm")
        return sheet


def frame_sheet(video: Video, image: ImageTrace, boxes: Tensor) -> FrameSheet:
    """Lay the frames out; boxes (tokens, 4) are in pixels of a frame, as `Trace.boxes` gives them."""
    across = ceil(sqrt(image.tiles))
    width = (SIDE - GAP * (across - 1)) // across
    height = max(round(width * video.size[1] / video.size[0]), 1)
    corners = [(i % across * (width + GAP), i // across * (height + BAR + GAP)) for i in range(image.tiles)]
    sheet = Image.new("RGB", (SIDE, corners[-1][1] + height + BAR), PAPER)
    times = []
    for tile, corner in enumerate(corners):
        frames = image.frames_of(tile)
        sheet.paste(video.frames[frames[0]].resize((width, height), Image.Resampling.BICUBIC), corner)
        times.append(" + ".join(f"{video.times[frame]:.1f}" for frame in frames) + " s")
    scale = torch.tensor([width / video.size[0], height / video.size[1]] * 2)
    shift = torch.tensor(corners, dtype=torch.float32)[image.tile_of.clamp(min=0)].repeat(1, 2)
    cells = tuple((x, y, x + width, y + height) for x, y in corners)
    return FrameSheet(sheet, boxes.cpu() * scale + shift, image.tile_of, cells, tuple(times))


def drawn_trace(source: Image.Image | Video, trace: Trace) -> Image.Image:
    """The picture or video of a run, with what became of its visual tokens."""
    image, boxes = trace.images[0], trace.boxes(0)
    fates = overlay.fates(image)
    if isinstance(source, Video):
        return frame_sheet(source, image, boxes).draw(fates)
    return overlay.draw(overlay.canvas(source), boxes, fates, upright_size(source))
