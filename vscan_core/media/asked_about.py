"""What one question may be about: a picture, a video, or several pictures in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from PIL import Image

from vscan_core.errors import InputError
from vscan_core.media.videos import Video

AskedAbout: TypeAlias = Image.Image | Video | Sequence[Image.Image]

_ONE = "{what} takes one picture at a time; {instead}."
_NONE = "There are no pictures: pass at least one."
_VIDEO_AMONG = "A video cannot be asked about together with pictures; ask about it alone."
_TOO_LONG = "{shown} and the question are {tokens:,} tokens, and this model has room for {most:,}; {remedy}."


def pictures_of(shown: AskedAbout) -> list[Image.Image]:
    """The pictures, in order. Raises InputError if there is none, or a video among them."""
    if not isinstance(shown, list | tuple):
        return [shown]  # `as_rgb` refuses what is no picture
    if not shown:
        raise InputError(_NONE)
    if any(isinstance(one, Video) for one in shown):
        raise InputError(_VIDEO_AMONG)
    return list(shown)


def check_single(shown: AskedAbout, what: str, instead: str) -> None:
    """Raise InputError for several pictures where `what` takes one; `instead`: what to do."""
    if isinstance(shown, list | tuple):
        raise InputError(_ONE.format(what=what, instead=instead))


def check_context(shown: AskedAbout, tokens: int, most: int) -> None:
    """Raise InputError if several pictures or a video make a prompt of more `tokens` than the model has room for.

    most: positions that the model knows. A single picture is never refused: its processor bounds its size.
    """
    if tokens <= most:
        return
    if isinstance(shown, Video):
        name, remedy = f"{len(shown.frames)} frames", "take fewer frames"
    elif len(pictures := pictures_of(shown)) > 1:
        name, remedy = f"{len(pictures)} pictures", "ask about fewer pictures"
    else:
        return
    raise InputError(_TOO_LONG.format(shown=name, tokens=tokens, most=most, remedy=remedy))
