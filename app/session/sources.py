"""Where pixels come from: the file of a picture or a video, opened, and known by a hash of its bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vscan_core.errors import InputError
from vscan_core.media.videos import Video


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


def digest_of(path: str | Clip) -> str:
    """A hash of a file's bytes: the same picture has the same one, whoever sent it. Raises InputError."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        kind = "video" if isinstance(path, Clip) else "picture"
        raise InputError(f"This {kind} is no longer on the server; please choose it again.") from None
