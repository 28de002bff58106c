"""Small files that ask for much: pixels, memory or time."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from PIL import Image, PngImagePlugin

from tests.probes.pictures import encoded, noise

MOST = 6300  # pixels of a side: just below 40 megapixels
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def flat_png(width: int, height: int, colour: int = 0, depth: int = 8, rows: int | None = None) -> bytes:
    """A PNG of zeros that claims this size; only `rows` of it are there."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    row = bytes(1 + width * depth * CHANNELS[colour] // 8)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for _ in range(height if rows is None else rows)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(3 * 256)) if colour == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + palette + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tiny_webp(width: int, height: int) -> bytes:
    """A WebP of 40 bytes that claims this size, without pixels."""
    head = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(8)
    chunk = b"VP8L" + struct.pack("<I", len(head)) + head + b"\0" * (len(head) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _canvas_webp() -> bytes:
    side = struct.pack("<I", 16_382)[:3]
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + side + side


def _gif(screen: int, frame: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", screen, screen, 0, 0, 0)
    return head + b"," + struct.pack("<HHHHB", 0, 0, frame, frame, 0) + b"\2\2D\1\0;"


def _bitmap(width: int, height: int, bits: int, packing: int, pixels: bytes) -> bytes:
    palette = bytes(1024) if bits == 8 else b""
    at = 54 + len(palette)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, packing, 0, 0, 0, 256 if palette else 0, 0)
    return b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at) + head + palette + pixels


def many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    file = encoded(Image.new("L", (side, side)), "JPEG", progressive=True)
    last = file.rfind(b"\xff\xda")
    scan = file[last:-2]
    return file[:last] + scan * min(scans, 9_000_000 // len(scan)) + b"\xff\xd9"


def _restarts() -> bytes:
    """A JPEG with notes of all kinds, thousands of them."""
    file = encoded(noise(), "JPEG")
    return file[:2] + (b"\xff\xfe\x00\x04no") * 100_000 + file[2:]


def _packed_notes(length: int) -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("x", "A" * length, zip=True)
    return encoded(noise(), "PNG", pnginfo=notes)


def _grown(kind: str, mode: str, **options: object) -> Callable[[], bytes]:
    return lambda: encoded(Image.new(mode, (MOST, MOST)), kind, **options)


TOO_LARGE: dict[str, Callable[[], bytes]] = {
    "100000x100000.png": lambda: flat_png(100_000, 100_000, rows=2),
    "2147483647x1.png": lambda: flat_png(2**31 - 1, 1, rows=0),
    "15000x15000.png": lambda: flat_png(15_000, 15_000),
    "6400x6400.png": lambda: flat_png(6400, 6400),
    "0x0.png": lambda: flat_png(0, 0),
    "no-rows.png": lambda: flat_png(3000, 3000, rows=0),
    "30000x30000.bmp": lambda: _bitmap(30_000, 30_000, 24, 0, b""),
    "screen-60000.gif": lambda: _gif(60_000, 1),
    "frame-60000.gif": lambda: _gif(64, 60_000),
    "canvas-16383.webp": _canvas_webp,
    "tiny-16383.webp": lambda: tiny_webp(16_383, 16_383),
    "tiny-6300.webp": lambda: tiny_webp(MOST, MOST),
    "scans.jpg": lambda: many_scans(MOST, 2000),
    "scans-small.jpg": lambda: many_scans(1000, 5000),
}
HEAVY: dict[str, Callable[[], bytes]] = {
    "rgba-40-mp.png": lambda: flat_png(MOST, MOST, 6),
    "rgba-16-bit-40-mp.png": lambda: flat_png(MOST, MOST, 6, 16),
    "grey-16-bit-40-mp.png": lambda: flat_png(MOST, MOST, 0, 16),
    "grey-alpha-16-bit-40-mp.png": lambda: flat_png(MOST, MOST, 4, 16),
    "palette-40-mp.png": lambda: flat_png(MOST, MOST, 3),
    "one-bit-40-mp.png": lambda: flat_png(MOST, MOST, 0, 1),
    "40000x1000.png": lambda: flat_png(40_000, 1000, 2),
    "notes-60-mb.png": lambda: _packed_notes(60_000_000),
    "rle-6000.bmp": lambda: _bitmap(6000, 6000, 8, 1, b"\xff\1" * 100),
    "progressive-40-mp.jpg": lambda: encoded(noise(800, 600).resize((6600, 6000)), "JPEG", quality=5, progressive=True),
    "cmyk-40-mp.tif": _grown("TIFF", "CMYK", compression="tiff_adobe_deflate"),
    "float-40-mp.tif": _grown("TIFF", "F", compression="tiff_adobe_deflate"),
    "rgb-40-mp.avif": _grown("AVIF", "RGB", speed=10),
    "rgba-40-mp.webp": _grown("WEBP", "RGBA", lossless=True, method=0),
    "100000-notes.jpg": _restarts,
    "20-scans.jpg": lambda: many_scans(3000, 10),
}
