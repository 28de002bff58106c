"""Small videos and grey frames for the tests, made on the spot."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from PIL import Image

CODECS = {"webm": "libvpx-vp9", "gif": "gif", "avi": "mpeg4", "mpg": "mpeg2video"}


def shades(count: int, size: tuple[int, int] = (96, 64)) -> list[Image.Image]:
    """Frames from black to white, so that a frame tells its own number."""
    return [Image.new("RGB", size, (round(255 * i / max(count - 1, 1)),) * 3) for i in range(count)]


def shade(frame: Image.Image) -> float:
    """How light a frame is, 0 to 1."""
    return float(np.asarray(frame.convert("L")).mean()) / 255


def write(path: Path, frames: list[Image.Image], fps: int = 10, gop: int = 12) -> str:
    """Encode frames; the ending of the name says how. gop: frames from one key frame to the next."""
    ending = path.suffix[1:]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS.get(ending, "libx264"), rate=fps)
        stream.width, stream.height = frames[0].size if frames else (96, 64)
        stream.pix_fmt = "rgb8" if ending == "gif" else "yuv420p"
        stream.gop_size = gop
        container.start_encoding()
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
    return str(path)
