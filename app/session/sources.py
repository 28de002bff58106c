"""Where pixels come from: the file of a picture or a video, opened, and known by a hash of its bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vscan_core.errors import InputError
from vscan_core.media.images import open_image
from vscan_core.media.videos import Video, open_video

from .lru_cache import LRUCache

NO_PICTURE = "Please choose a picture first."


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


class Sources:
    """The latest few files, decoded."""

    def __init__(self) -> None:
        self._opened: LRUCache[OpenedSource] = LRUCache(8)

    def open(self, source: Source) -> OpenedSource:
        """Read a file, hash it, and decode it unless its content is known; what is open already is returned as it is.

        Raises InputError if there is no file, or if it is not one that can be read.
        """
        if isinstance(source, OpenedSource):
            return source
        if not source:
            raise InputError(NO_PICTURE)
        digest = digest_of(source)
        if isinstance(source, Clip):
            return self._opened.get(
                (digest, source.frames), lambda: OpenedSource(digest, open_video(source.path, source.frames))
            )
        return self._opened.get(digest, lambda: OpenedSource(digest, open_image(source)))


def digest_of(path: str | Clip) -> str:
    """A hash of a file's bytes: the same picture has the same one, whoever sent it."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        kind = "video" if isinstance(path, Clip) else "picture"
        raise InputError(f"This {kind} is no longer on the server; please choose it again.") from None
