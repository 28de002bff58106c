"""Pictures of unusual kinds that can be read: other modes, animations, odd notes beside the pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, PngImagePlugin

from tests.probes.pictures import encoded, good_picture, noise

ORIENTATION = 0x0112


def _float(value: float, corner: float | None = None) -> bytes:
    pixels = np.full((64, 64), value, np.float32)
    if corner is not None:
        pixels[0, 0] = corner
    return encoded(Image.fromarray(pixels), "TIFF")


def _turned(number: int) -> bytes:
    notes = Image.Exif()
    notes[ORIENTATION] = number
    return encoded(noise(), "JPEG", exif=notes)


def _notes(length: int) -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", "A" * length, zip=True)
    return encoded(noise(), "PNG", pnginfo=notes)


def _frames(kind: str, count: int) -> bytes:
    frames = [Image.new("L", (200, 200), number % 256) for number in range(count)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


def _animated(kind: str) -> bytes:
    first = noise()
    return encoded(first, kind, save_all=True, append_images=[first.transpose(Image.Transpose.ROTATE_180)] * 5)


def _with_bytes_after_start(added: bytes) -> bytes:
    file = encoded(noise(), "JPEG")
    return file[:2] + added + file[2:]


READABLE: dict[str, Callable[[], bytes]] = {
    "good.png": good_picture,
    "good.jpg": lambda: encoded(noise(), "JPEG"),
    "good.webp": lambda: encoded(noise(), "WEBP"),
    "good.avif": lambda: encoded(noise(), "AVIF"),
    "good.bmp": lambda: encoded(noise(), "BMP"),
    "good.gif": lambda: encoded(noise(mode="P"), "GIF"),
    "good.tif": lambda: encoded(noise(), "TIFF"),
    "200-frames.gif": lambda: _frames("GIF", 200),
    "2000-frames.gif": lambda: _frames("GIF", 2000),
    "animated.webp": lambda: _animated("WEBP"),
    "animated.png": lambda: _animated("PNG"),
    "pages.tif": lambda: _animated("TIFF"),
    "grey-16-bit.png": lambda: encoded(Image.fromarray(np.arange(90_000, dtype=np.uint16).reshape(300, 300)), "PNG"),
    "cmyk.jpg": lambda: encoded(noise(mode="CMYK"), "JPEG"),
    "grey-alpha.png": lambda: encoded(noise(mode="LA"), "PNG"),
    "palette-alpha.png": lambda: encoded(noise(mode="P"), "PNG", transparency=bytes(range(256))),
    "one-bit.png": lambda: encoded(noise(mode="1"), "PNG"),
    "lab.tif": lambda: encoded(noise(mode="LAB"), "TIFF"),
    "jpeg-inside.tif": lambda: encoded(noise(), "TIFF", compression="jpeg"),
    "lzw.tif": lambda: encoded(noise(), "TIFF", compression="tiff_lzw"),
    "no-numbers.tif": lambda: _float(np.nan),
    "infinite.tif": lambda: _float(np.inf),
    "wide-range.tif": lambda: _float(1e38, -1e38),
    "denormal.tif": lambda: _float(1e-45),
    "orientation-1.jpg": lambda: _turned(1),
    "orientation-6.jpg": lambda: _turned(6),
    "orientation-8.jpg": lambda: _turned(8),
    "orientation-0.jpg": lambda: _turned(0),
    "orientation-99.jpg": lambda: _turned(99),
    "junk-notes.jpg": lambda: _with_bytes_after_start(b"\xff\xe1\x00\x20Exif\0\0" + b"\xee" * 24),
    "junk-profile.jpg": lambda: encoded(noise(), "JPEG", icc_profile=b"no profile" * 50),
    "junk-profile.png": lambda: encoded(noise(), "PNG", icc_profile=b"no profile" * 50),
    "1-MB-of-notes.png": lambda: _notes(1_000_000),
    "script-after-the-end.jpg": lambda: encoded(noise(), "JPEG") + b"<script>alert(1)</script>",
    "archive-after-the-end.gif": lambda: encoded(noise(mode="P"), "GIF") + b"PK\x03\x04" + b"x" * 600,
    "progressive.jpg": lambda: encoded(noise(800, 600), "JPEG", progressive=True),
    "least.png": lambda: encoded(noise(16, 16), "PNG"),
    "thinnest.png": lambda: encoded(noise(16, 800), "PNG"),
}
