"""Videos in: a few frames of an untrusted file, or one sentence that says why it is refused.

Only containers on a short list are opened, and only as local files: a playlist cannot make this computer fetch
anything. Frames are spread evenly from the first to the last one, as in the reference code of Video-LLaVA and
Qwen2.5-VL; only what lies between a key frame and a wanted frame is decoded.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from PIL import Image

from vscan_core.errors import InputError
from vscan_core.media.images import MAX_ASPECT, MIN_SIDE
from vscan_core.media.refusals import too_much_memory, too_slow
from vscan_core.media.work import MAX_MEGAPIXELS

DEMUXERS = "mov,matroska,avi,gif,mpeg,mpegts,ogg"  # FFmpeg's names; mov is MP4, too, and matroska WebM
MAX_FRAMES = 64  # taken from one video
MAX_MINUTES = 10
MAX_SECONDS_READING = 60
MAX_THREADS = 4  # of a decoder; each keeps frames of its own in memory
FRAME_SIDE = 1024  # longer side of a frame in pixels; models look at less

_ACCEPTED = "please use an MP4, MOV, WebM, MKV, AVI, MPEG, Ogg or GIF video"
_DAMAGED = "This video file is damaged or incomplete; please choose another one."
_EMPTY = "This video has no frames; please choose another one."


@dataclass(frozen=True, eq=False)
class Video:
    """Some frames of a video, in order. Made by `open_video`, or from pictures.

    Raises InputError if there are no frames or if they differ in size.
    """

    frames: Sequence[Image.Image]  # RGB, all of one size
    times: Sequence[float] = ()  # of each frame, in seconds; () = one frame per second

    def __post_init__(self) -> None:
        if not self.frames:
            raise InputError(_EMPTY)
        if len({frame.size for frame in self.frames}) > 1:
            raise InputError("The frames of a video must all have the same width and height.")
        object.__setattr__(self, "frames", tuple(frame.convert("RGB") for frame in self.frames))
        object.__setattr__(self, "times", tuple(self.times) or tuple(map(float, range(len(self.frames)))))
        if len(self.times) != len(self.frames):
            raise InputError(
                f"times must have one entry for each of the {len(self.frames)} frames, but has {len(self.times)}."
            )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame in pixels."""
        size: tuple[int, int] = self.frames[0].size
        return size


def open_video(path: str | Path, frames: int = 8) -> Video:
    """`frames` frames of a video file, evenly spread (fewer if it has fewer), upright, at most FRAME_SIDE pixels.

    Raises InputError if it is not a video, or is damaged, too large, too long or too slow to read.
    """
    if not 1 <= frames <= MAX_FRAMES:
        raise InputError(f"frames must be between 1 and {MAX_FRAMES}, but is {frames}.")
    file = Path(path)
    if not file.is_file():
        raise InputError("There is no such video file.")
    try:
        with _opened(file) as index, _opened(file) as container:
            stamps, keys = _stamps(index)
            targets = [stamps[place] for place in _spread(len(stamps), frames)]
            return _video(container, targets, keys)
    except InputError:
        raise
    except MemoryError:
        raise InputError(too_much_memory("video")) from None
    except EOFError:  # the header is followed by nothing
        raise InputError(_EMPTY if file.stat().st_size else _why(file)) from None
    except (av.FFmpegError, OSError, ValueError):
        raise InputError(_why(file)) from None


def _opened(file: Path) -> Any:
    return av.open(str(file), options={"format_whitelist": DEMUXERS, "protocol_whitelist": "file"})


def _stamps(container: Any) -> tuple[list[int], list[int]]:
    """When frames are shown, and when key frames are, in the stream's ticks; nothing is decoded for it."""
    if not container.streams.video:
        sound = "This file has sound but no pictures; please choose a video."
        raise InputError(sound if container.streams.audio else _EMPTY)
    stream = container.streams.video[0]
    _check_size(stream.width, stream.height)
    if (container.duration or 0) / 1e6 > 60 * MAX_MINUTES:
        raise InputError(_too_long(container.duration / 1e6))
    packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
    shown = [(packet.dts if packet.pts is None else packet.pts, packet.is_keyframe) for packet in packets]
    stamps = sorted(stamp for stamp, _ in shown if stamp is not None)
    if not stamps:
        raise InputError(_EMPTY)
    seconds = float((stamps[-1] - stamps[0]) * (stream.time_base or 0))
    if seconds > 60 * MAX_MINUTES:  # what the header said was wrong
        raise InputError(_too_long(seconds))
    return stamps, sorted(stamp for stamp, key in shown if key and stamp is not None)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise InputError(f"This video's frames have more than {MAX_MEGAPIXELS} megapixels; please make them smaller.")
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(
            f"This video's frames are {width} x {height} pixels; please choose one of at least {MIN_SIDE} pixels on "
            f"each side whose sides differ at most {MAX_ASPECT} times."
        )


def _too_long(seconds: float) -> str:
    return (
        f"This video lasts {seconds / 60:.0f} minutes; the limit is {MAX_MINUTES}, so please cut out the part that "
        "the question is about."
    )


def _spread(total: int, wanted: int) -> list[int]:
    """Evenly spread places, the first and the last one among them. _spread(10, 4) = [0, 3, 6, 9]."""
    count = min(total, wanted)
    return [round(i * (total - 1) / max(count - 1, 1)) for i in range(count)]


def _video(container: Any, targets: Sequence[int], keys: Sequence[int]) -> Video:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    stream.thread_count = min(os.cpu_count() or 1, MAX_THREADS)
    taken = [(_picture(frame), frame.time or 0.0) for frame in _frames(container, stream, targets, keys)]
    return Video([picture for picture, _ in taken], [seconds - taken[0][1] for _, seconds in taken])


def _frames(container: Any, stream: Any, targets: Sequence[int], keys: Sequence[int]) -> Iterator[Any]:
    """The first frame at or after each target; frames that cannot be decoded are passed over."""
    decoded, frame, given = container.decode(stream), None, None
    exact = container.format.name.startswith(("mov", "matroska"))  # others may land after the key frame
    deadline = time.monotonic() + MAX_SECONDS_READING
    for target in targets:
        before = bisect_right(keys, target)
        if exact and frame is not None and before and keys[before - 1] > frame.pts:  # it is nearer than we are
            container.seek(keys[before - 1], stream=stream)
            decoded = container.decode(stream)
        while frame is None or frame.pts < target:
            if time.monotonic() > deadline:
                raise InputError(too_slow("video"))
            following = next(decoded, None)
            if following is None:
                break
            frame = following if following.pts is not None else frame
        if frame is not None and frame is not given:
            given = frame
            yield frame


def _picture(frame: Any) -> Image.Image:
    """Upright RGB of a sane size; phones note a rotation instead of turning the pixels."""
    scale = min(1.0, FRAME_SIDE / max(frame.width, frame.height))
    image = frame.to_image(width=round(frame.width * scale), height=round(frame.height * scale))
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


def _why(file: Path) -> str:
    """One sentence about a file that could not be read, from its first bytes."""
    try:
        with file.open("rb") as opened:
            head = opened.read(12)
    except OSError:
        return "This video file cannot be read."
    if not head:
        return f"This file is empty; {_ACCEPTED}."
    known = (b"\x1a\x45\xdf\xa3", b"GIF8", b"OggS", b"\x00\x00\x01\xba")
    if head[4:8] in (b"ftyp", b"moov", b"mdat") or head.startswith(known) or head[8:12] == b"AVI ":
        return _DAMAGED
    return f"This file is not a video that can be read here; {_ACCEPTED}."
