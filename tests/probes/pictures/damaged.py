"""Files that are cut off, or that are no picture, whatever their name says. All of them must be refused."""

from __future__ import annotations

import struct
from collections.abc import Callable

from PIL import Image

from tests.probes.pictures import encoded, good_picture, noise

DRAWING = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="http://probe.invalid/x"/></svg>'


def _photoshop() -> bytes:
    return b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 64, 64, 8, 3) + bytes(200)


def _bitmap_of_other_size() -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, -200, -200, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head + bytes(500)


def _pages_in_a_circle() -> bytes:
    """The note of the next page points to the page itself, whose pixels are missing."""
    file = encoded(noise(), "TIFF")
    (start,) = struct.unpack("<I", file[4:8])
    (count,) = struct.unpack("<H", file[start : start + 2])
    at = start + 2 + 12 * count
    return file[:8] + file[start:at] + struct.pack("<I", start) + file[at + 4 :]


def _part(kind: str, share: float) -> Callable[[], bytes]:
    def make() -> bytes:
        file = encoded(noise(mode="P" if kind == "GIF" else "RGB"), kind)
        return file[: max(12, int(share * len(file)))]

    return make


DAMAGED: dict[str, Callable[[], bytes]] = {
    "empty.png": lambda: b"",
    "text.jpg": lambda: b"hello",
    "zeros.png": lambda: bytes(4000),
    "page.png": lambda: b"<html><script>alert(1)</script></html>",
    "drawing.svg": lambda: DRAWING,
    "drawing.png": lambda: DRAWING,
    "photoshop.psd": _photoshop,
    "photoshop.png": _photoshop,
    "postscript.eps": lambda: encoded(noise(), "EPS"),
    "postscript.png": lambda: encoded(noise(), "EPS"),
    "document.pdf": lambda: encoded(noise(), "PDF"),
    "document-with-picture.jpg": lambda: b"%PDF-1.4\n" + encoded(noise(), "JPEG"),
    "map.ppm": lambda: encoded(noise(), "PPM"),
    "icon.ico": lambda: encoded(noise(), "ICO"),
    "wavelets.jp2": lambda: encoded(noise(), "JPEG2000"),
    "targa.tga": lambda: encoded(noise(), "TGA"),
    "texture.dds": lambda: encoded(noise(), "DDS"),
    "apple.heic": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(300),
    "archive.png": lambda: b"PK\x03\x04" + bytes(500),
    "program.png": lambda: b"\x7fELF" + bytes(500),
    "playlist.png": lambda: b"#EXTM3U\nhttp://probe.invalid/x.ts\n",
    "magick.png": lambda: (
        b"push graphic-context\nviewbox 0 0 9 9\nfill 'url(http://probe.invalid/x)'\npop graphic-context"
    ),
    "half.jpg": _part("JPEG", 0.3),
    "half.png": _part("PNG", 0.5),
    "half.webp": _part("WEBP", 0.3),
    "half.avif": _part("AVIF", 0.3),
    "half.tif": _part("TIFF", 0.3),
    "head-only.jpg": _part("JPEG", 0),
    "head-only.gif": _part("GIF", 0),
    "bitmap-of-other-size.bmp": _bitmap_of_other_size,
    "pages-in-a-circle.tif": _pages_in_a_circle,
    "first-byte-changed.png": lambda: b"\x00" + good_picture()[1:],
}
MAY_BE_READ = ("half.tif", "pages-in-a-circle.tif", "half.webp", "half.jpg", "half.avif")  # what is there is shown
SHAPES = {"1x1": (1, 1), "1x5000": (1, 5000), "5000x1": (5000, 1), "15x400": (15, 400), "16x801": (16, 801)}
MIS_SHAPED: dict[str, Callable[[], bytes]] = {
    f"{name}.png": lambda size=size: encoded(Image.new("RGB", size), "PNG") for name, size in SHAPES.items()
}
