"""A picture file without what surrounds its pixels: profiles, texts, notes of the camera, further pictures.

They may be broken, or bombs, while the pixels are fine: what cannot be read with them is read without them.
"""

from __future__ import annotations

import struct

from vscan_core.media.containers import jpeg_segments, png_chunks, riff_chunks, tiff_directory

_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_JPEG_NOTES = {bytes([marker]) for marker in range(0xE1, 0xF0)} | {b"\xfe"}
_JPEG_COLOURS = b"\xee"  # says which colours the pixels are in
_WEBP_NOTES = {b"EXIF": b"NOTE", b"ICCP": b"NOTE", b"XMP ": b"NOTE"}
# tags that say where the pixels are and what they mean
_TIFF_PIXELS = {*range(254, 270), 273, *range(277, 281), 284, 292, 293, 317, *range(320, 326), 332, 336, 338, 339}
_TIFF_PIXELS |= {347, *range(512, 522), *range(529, 533)}


def bare_picture(content: bytes) -> bytes | None:
    """The same pixels, without the orientation that the camera noted; None for formats that have no such parts."""
    if content.startswith(b"\x89PNG"):
        kept = [content[start:end] for kind, start, end in png_chunks(content) if kind in _PNG_PIXELS]
        return content[:8] + b"".join(kept)
    if content.startswith(b"\xff\xd8"):
        return _bare_jpeg(content)
    if content.startswith((b"II", b"MM")):
        return _bare_tiff(content)
    if content[8:12] == b"WEBP":
        return _bare_webp(content)
    if content[4:8] == b"ftyp":  # AVIF: an item of an unknown type is passed over
        head, found, rest = content.partition(b"mdat")
        return head.replace(b"Exif", b"note").replace(b"mime", b"note") + found + rest
    return None


def _bare_jpeg(content: bytes) -> bytes:
    parts, at = [], 0
    for kind, start, end in jpeg_segments(content):
        if kind in _JPEG_NOTES and kind != _JPEG_COLOURS:
            parts.append(content[at:start])
            at = end
    return b"".join([*parts, content[at:]])


def _bare_webp(content: bytes) -> bytes:
    bare = bytearray(content)
    for kind, start, _ in riff_chunks(content):
        bare[start : start + 4] = _WEBP_NOTES.get(kind, kind)
        if kind == b"VP8X" and start + 8 < len(bare):
            bare[start + 8] &= 0b11010011  # no profile, no EXIF, no XMP
    return bytes(bare)


def _bare_tiff(content: bytes) -> bytes | None:
    directory = tiff_directory(content)
    if directory is None:
        return None
    lines = [entry.line for entry in directory.entries if entry.tag in _TIFF_PIXELS]
    last = struct.pack(directory.pointer, 0)
    counter = struct.pack(directory.counter, len(lines))
    body = counter + b"".join(lines) + last
    start = directory.first_line - len(counter)
    return content[:start] + body + content[start + len(body) :]
