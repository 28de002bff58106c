"""Picture files that ask for much: time, memory, or patience with what surrounds their pixels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a picture's file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(width: int = 64, height: int = 48) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int = 8, colour: int = 0, extra: bytes = b"") -> bytes:
    """A black PNG; `extra` comes before its pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    deflate, row = zlib.compressobj(9), bytes(1 + width * depth * channels // 8)
    pixels = b"".join(deflate.compress(row) for _ in range(height)) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def many_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated until there are so many."""
    content = encoded(Image.new("L", (width, height)), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * (1 + scans - content.count(b"\xff\xda")) + b"\xff\xd9"


def tiff(entries: Sequence[tuple[int, int, int, int]], rest: bytes = b"") -> bytes:
    """A TIFF of these lines (tag, type, how many, value), in any order; `rest` begins right behind the directory."""
    lines = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + lines + bytes(4) + rest


def plain_tiff(**others: tuple[int, int, int]) -> bytes:
    """Grey, 64 x 48, uncompressed; further lines as tag_1234=(type, how many, value)."""
    tags = {256: (4, 1, 64), 257: (4, 1, 48), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 1)}
    tags |= {278: (4, 1, 48), 279: (4, 1, 64 * 48), 273: (4, 1, 0)}
    tags |= {int(name.removeprefix("tag_")): value for name, value in others.items()}
    place = 8 + 2 + 12 * len(tags) + 4
    tags[273] = (4, 1, place) if tags[273] == (4, 1, 0) else tags[273]
    return tiff([(tag, *value) for tag, value in tags.items()], bytes(range(256)) * 12)


def webp_header(width: int, height: int) -> bytes:
    """An animated WebP without frames."""
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + sides


def commented_gif(blocks: int) -> bytes:
    """A GIF with a comment of so many blocks of one byte."""
    content = encoded(noise().quantize(16), "GIF")
    start = 13 + (3 << (content[10] & 7) + 1 if content[10] & 0x80 else 0)
    return content[:start] + b"!\xfe" + b"\1x" * blocks + b"\0" + content[start:]


def jpeg_with(inserted: bytes, at: int = 2) -> bytes:
    """A JPEG with something between its segments."""
    content = encoded(noise(), "JPEG")
    return content[:at] + inserted + content[at:]


def jpeg_that_claims(width: int, height: int) -> bytes:
    """A small JPEG whose header speaks of a large one."""
    content = encoded(noise(), "JPEG")
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def png_that_claims(width: int, height: int) -> bytes:
    """A small PNG whose header speaks of a large one."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = png(64, 48)
    return content[:8] + chunk(b"IHDR", header) + content[33:]


TOO_SLOW: dict[str, Callable[[], bytes]] = {
    "scans of a large JPEG": lambda: many_scans(6300, 6300, 13),
    "scans of a small JPEG": lambda: many_scans(64, 48, 101),
    "segments of a JPEG": lambda: jpeg_with(b"\xff\xfe\0\2" * 2000),
    "chunks of a PNG": lambda: png(64, 48, extra=chunk(b"noTe", b"") * 60_000),
    "blocks of a GIF's comment": lambda: commented_gif(6000),
    "strips of a TIFF": lambda: plain_tiff(tag_273=(4, 300_000, 8), tag_279=(4, 300_000, 8)),
    "numbers in a note of a TIFF": lambda: plain_tiff(tag_65000=(5, 1_000_000, 8)),
    "lines of a TIFF": lambda: plain_tiff(**{f"tag_{30000 + number}": (3, 1, 0) for number in range(5000)}),
}
TOO_MANY_PIXELS: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: png_that_claims(100_000, 100_000),
    "GIF's screen": lambda: b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0) + b"," + bytes(20),
    "WebP's canvas": lambda: webp_header(16_383, 16_383),
    "JPEG": lambda: jpeg_that_claims(65_000, 65_000),
    "tile of a TIFF": lambda: plain_tiff(tag_322=(4, 1, 60_000), tag_323=(4, 1, 60_000), tag_324=(4, 1, 8)),
}
