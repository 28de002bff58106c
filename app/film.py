"""A video in the page: where its file is, and the strip of frames that stands for the picture when it is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vscan_core.strip import Strip, film_strip
from vscan_core.videos import Video

if TYPE_CHECKING:
    from app.session import Picture
    from app.token_view import TokenView


@dataclass(frozen=True)
class Clip:
    """The path of a video file, and how many frames are taken of it; a plain str is the path of a picture."""

    path: str
    frames: int

    def __fspath__(self) -> str:
        return self.path


def laid_out(source: Picture, view: TokenView) -> tuple[Picture, TokenView, Strip | None]:
    """What the tokens of a view are painted on: a picture as it is, or the frames of a video side by side."""
    if not isinstance(source.image, Video):
        return source, view, None
    strip = film_strip(source.image, view.trace, view.boxes)
    sheet = replace(source, image=strip.picture, canvas=strip.picture)
    return sheet, replace(view, boxes=strip.boxes), strip
