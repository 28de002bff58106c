"""Where pixels come from: the file of a picture or a video, opened, and known by a hash of its bytes.

Files are decoded in processes of their own, one picture and one video at a time, before a run waits for its device.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from PIL import Image

from vscan_core.errors import InputError
from vscan_core.media.isolated import MediaReader
from vscan_core.media.videos import Video

PICTURE_READER = MediaReader(seconds=15, megabytes=1000)
VIDEO_READER = MediaReader(seconds=30, megabytes=1500)


@dataclass(frozen=True)
class Clip:
    """The path of a video file, and how many frames are taken from it; a plain str is the path of a picture."""

    path: str
    frames: int

    def __fspath__(self) -> str:
        return self.path


@dataclass(frozen=True)
class OpenedSource:
    """The pixels of a picture or a video."""

    digest: str
    image: Image.Image | Video


Source = str | Clip | OpenedSource | None  # None: nothing has been chosen


def decoded(path: str | Clip) -> Image.Image | Video:
    """The pixels of a file. Raises InputError if it cannot be read, or not within time and memory."""
    return VIDEO_READER.video(path.path, path.frames) if isinstance(path, Clip) else PICTURE_READER.image(path)


def digest_of(path: str | Clip) -> str:
    """A hash of a file's bytes: the same picture has the same one, whoever sent it. Raises InputError."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        kind = "video" if isinstance(path, Clip) else "picture"
        raise InputError(f"This {kind} is no longer on the server; please choose it again.") from None
