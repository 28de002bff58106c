"""A video in the page: where its file is, and the strip of frames that stands for the picture when it is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vscan_core.draw.video import FrameSheet, frame_sheet
from vscan_core.media.videos import Video

if TYPE_CHECKING:
    from ..ui.token_map import TokenView
    from .session import Picture


@dataclass(frozen=True)
class Clip:
    """The path of a video file, and how many frames are taken of it; a plain str is the path of a picture."""

    path: str
    frames: int

    def __fspath__(self) -> str:
        return self.path


def laid_out(source: Picture, view: TokenView) -> tuple[Picture, TokenView, FrameSheet | None]:
    """What the tokens of a view are painted on: a picture as it is, or the frames of a video side by side."""
    if not isinstance(source.image, Video):
        return source, view, None
    strip = frame_sheet(source.image, view.trace, view.boxes)
    sheet = replace(source, image=strip.picture, canvas=strip.picture)
    return sheet, replace(view, boxes=strip.boxes), strip
