"""Where pixels come from: the file of a picture or a video, opened, and known by a hash of its bytes.

Files are decoded in processes of their own, one picture and one video at a time, before a run waits for its device.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from PIL import Image

from vscan_core.errors import InputError
from vscan_core.media.asked_about import AskedAbout, pictures_of
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
class Album:
    """The paths of several pictures, in order."""

    paths: tuple[str, ...]


@dataclass(frozen=True)
class OpenedSource:
    """The pixels of a picture, of several, or of a video."""

    digest: str
    image: Image.Image | Video  # the first, of several pictures
    others: tuple[Image.Image, ...] = ()  # those after it

    @property
    def asked_about(self) -> AskedAbout:
        """What a question is about."""
        return self.pictures if self.others else self.image

    @property
    def pictures(self) -> list[Image.Image]:
        """All pictures, in order. Raises InputError for a video."""
        return [*pictures_of([self.image]), *self.others]


Source = str | Clip | Album | OpenedSource | None  # None: nothing has been chosen


def decoded(path: str | Clip | Album, digest: str) -> OpenedSource:
    """The pixels of a file or of several. Raises InputError if one cannot be read, or not within time and memory."""
    if isinstance(path, Album):
        first, *others = [PICTURE_READER.image(one) for one in path.paths]
        return OpenedSource(digest, first, tuple(others))
    if isinstance(path, Clip):
        return OpenedSource(digest, VIDEO_READER.video(path.path, path.frames))
    return OpenedSource(digest, PICTURE_READER.image(path))


def digest_of(path: str | Clip | Album) -> str:
    """A hash of a file's bytes: the same picture has the same one, whoever sent it. Raises InputError."""
    if isinstance(path, Album):
        return hashlib.sha256(" ".join(map(digest_of, path.paths)).encode()).hexdigest()
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        kind = "video" if isinstance(path, Clip) else "picture"
        raise InputError(f"This {kind} is no longer on the server; please choose it again.") from None
