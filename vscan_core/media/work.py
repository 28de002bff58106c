"""How much work it would be to decode a picture, judged by its file: small ones can ask for minutes or gigabytes.

`decoder_bytes` looks at a file before Pillow does, `check_memory` at what Pillow says about it before it is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

from PIL import Image

from vscan_core.errors import InputError
from vscan_core.media.containers import (
    FilePart,
    gif_blocks_before_pixels,
    jpeg_segments,
    png_chunks,
    riff_chunks,
    tiff_directory,
)
from vscan_core.media.refusals import too_slow

MAX_MEGAPIXELS = 40
MAX_DECODING_MB = 640  # at once, for one picture
MAX_SCANS = 100  # libtiff draws the line there, too; a scan costs time even if it is empty
# Every scan of a progressive JPEG goes over all pixels again. Encoders write about 10 (libjpeg) to 12 (mozjpeg).
MAX_SCANNED_MEGAPIXELS = 12 * MAX_MEGAPIXELS
MAX_SEGMENTS = 1_000  # of a JPEG; a colour profile takes at most 255
MAX_CHUNKS = 50_000  # of a PNG; encoders write 8 KiB or more into each
MAX_BLOCKS = 5_000  # of a GIF's comments; Pillow's time for them grows with the square of their number
MAX_ENTRY = 200_000  # numbers in one line of a TIFF directory, such as the places of all its strips
MAX_ENTRIES = 4_000  # lines of a TIFF directory

TOO_MANY_PIXELS = f"This picture has more than {MAX_MEGAPIXELS} megapixels; please make it smaller first."
_OF_MODE = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}  # bytes per pixel; 4 of all others
_RGB_BYTES = 4  # Pillow's; what every picture becomes
_WEBP_BYTES = 16  # two canvases, a frame and a copy of it
_AVIF_BYTES = 14  # planes of up to 12 bit and an alpha plane, and the pixels made of them
_FRAMES = {bytes([marker]) for marker in range(0xC0, 0xD0)} - {b"\xc4", b"\xc8", b"\xcc"}
_PROGRESSIVE = (b"\xc2", b"\xc6", b"\xca", b"\xce")
_TIFF_IN_BYTES = (1, 2, 7)  # types of entries that Pillow takes as bytes, not number by number
_TILE_WIDTH, _TILE_LENGTH = 322, 323


def decoder_bytes(content: bytes) -> Callable[[int], int]:
    """What the decoder of this file takes itself, in bytes per pixel, from the bytes per pixel of the picture's mode.

    Raises InputError if the file is built such that reading it would take too long, or if it is too large.
    """
    if content.startswith(b"\xff\xd8"):
        return _jpeg(content)
    if content.startswith(b"\x89PNG"):
        _at_most(MAX_CHUNKS, png_chunks(content))
    elif content.startswith(b"GIF8"):
        _at_most(MAX_BLOCKS, gif_blocks_before_pixels(content))
    elif content.startswith((b"II", b"MM")):
        return _tiff(content)
    elif content[8:12] == b"WEBP":
        _check_pixels(*_webp_size(content))  # Pillow sets canvases aside as it opens the file
        return lambda mode_bytes: _WEBP_BYTES
    elif content[4:8] == b"ftyp":
        return lambda mode_bytes: _AVIF_BYTES
    return lambda mode_bytes: 0


def check_memory(image: Image.Image, decoder: Callable[[int], int]) -> None:
    """Refuse a picture, opened but not decoded, that would take too much memory. Raises InputError."""
    width, height = image.size
    _check_pixels(width, height)
    mode_bytes = _OF_MODE.get(image.mode, 4)
    limit = MAX_DECODING_MB / (mode_bytes + _RGB_BYTES + decoder(mode_bytes))  # in megapixels
    if width * height > limit * 1_000_000:
        raise InputError(
            f"A picture of this kind may have at most {int(limit)} megapixels, and this one has "
            f"{width * height / 1e6:.1f}; please make it smaller, or save it as a plain JPEG or PNG."
        )


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise InputError(TOO_MANY_PIXELS)


def _at_most(limit: int, parts: Iterable[FilePart]) -> None:
    if any(number >= limit for number, _ in enumerate(parts)):
        raise InputError(too_slow("picture"))


def _jpeg(content: bytes) -> Callable[[int], int]:
    """Count scans. With more than one, all coefficients, of 2 bytes each, are kept until the last has been read."""
    _at_most(MAX_SEGMENTS, jpeg_segments(content))
    scans, pixels, components, progressive = 0, 0, 0, False
    for kind, start, _ in jpeg_segments(content):
        if kind in _FRAMES and start + 10 <= len(content):
            progressive = kind in _PROGRESSIVE
            height, width, components = struct.unpack_from(">HHB", content, start + 5)
            pixels = height * width
            _check_pixels(width, height)
        scans += kind == b"\xda"
        if scans > MAX_SCANS or scans * pixels > MAX_SCANNED_MEGAPIXELS * 1_000_000:
            raise InputError(too_slow("picture"))
    return lambda mode_bytes: 2 * components if progressive or scans > 1 else 0


def _tiff(content: bytes) -> Callable[[int], int]:
    """Look at how many strips or tiles there are, and at the size of a tile."""
    directory = tiff_directory(content)
    entries = directory.entries if directory else []
    long = any(entry.values > MAX_ENTRY and entry.type not in _TIFF_IN_BYTES for entry in entries)
    if long or len(entries) > MAX_ENTRIES:
        raise InputError(too_slow("picture"))
    sides = {entry.tag: entry.value for entry in entries}
    _check_pixels(sides.get(_TILE_WIDTH, 1), sides.get(_TILE_LENGTH, 1))
    return lambda mode_bytes: 2 * mode_bytes  # a strip, or the whole, as it was packed


def _webp_size(content: bytes) -> tuple[int, int]:
    """(width, height) of a WebP picture's canvas, by its first chunk; (0, 0) if there is none."""
    first = next(riff_chunks(content), None)
    body = content[20:30]
    if first is None or len(body) < 10:
        return 0, 0
    if first.kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if first.kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", body, 6)
    return width & 0x3FFF, height & 0x3FFF
