"""The parts that picture files consist of, found without decoding anything; damaged files have fewer parts."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # inside scans, FF 00 is data and FF D0 to FF D7 a restart
_JPEG_ALONE = (b"\x01", b"\xd8")  # markers that nothing belongs to
_JPEG_SCAN, _JPEG_END = b"\xda", b"\xd9"
_GIF_EXTENSION = 0x21
_TIFF_SHORT = 3


class FilePart(NamedTuple):
    """A chunk, segment or box: what it calls itself, and where it lies in the file."""

    kind: bytes
    start: int
    end: int  # may lie behind the end of a file that has been cut off


class TiffEntry(NamedTuple):
    """A line of a TIFF directory."""

    tag: int
    type: int
    values: int  # how many there are
    value: int  # itself, or where it is
    line: bytes


class TiffDirectory(NamedTuple):
    """The first directory of a TIFF file, the one of its first picture."""

    entries: list[TiffEntry]
    first_line: int  # where the lines begin in the file
    counter: str  # struct format of the number of lines, which stands before them
    pointer: str  # ... of the place of the next directory, which stands behind them


def png_chunks(content: bytes) -> Iterator[FilePart]:
    """The chunks of a PNG file, such as b"IHDR"."""
    at = 8
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        yield FilePart(kind, at, at + 12 + length)
        at += 12 + length


def riff_chunks(content: bytes) -> Iterator[FilePart]:
    """The outermost chunks of a WebP file, such as b"VP8X"."""
    at = 12
    while at + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, at)
        yield FilePart(kind, at, at + 8 + length)
        at += 8 + length + length % 2


def jpeg_segments(content: bytes) -> Iterator[FilePart]:
    """The segments of a JPEG file by the second byte of their markers, up to its end; a scan is one segment."""
    at = 2
    while (found := _JPEG_MARKER.search(content, at)) and (kind := found.group()[1:]) != _JPEG_END:
        at = found.end()
        if kind in _JPEG_ALONE:
            continue
        at += int.from_bytes(content[at : at + 2], "big")
        if kind == _JPEG_SCAN:
            following = _JPEG_MARKER.search(content, at)
            at = following.start() if following else len(content)
        yield FilePart(kind, found.start(), at)


def gif_blocks_before_pixels(content: bytes) -> Iterator[FilePart]:
    """The small blocks of comments and the like that come before the first frame of a GIF file."""
    at = 13 + (3 << (content[10] & 7) + 1 if len(content) > 10 and content[10] & 0x80 else 0)
    while at + 2 < len(content) and content[at] == _GIF_EXTENSION:
        kind, at = content[at + 1 : at + 2], at + 2
        while at < len(content) and (length := content[at]):
            yield FilePart(kind, at, at + 1 + length)
            at += 1 + length
        at += 1


def tiff_directory(content: bytes) -> TiffDirectory | None:
    """The first directory of a TIFF or BigTIFF file; None if there is none."""
    order = "<" if content[:2] == b"II" else ">"
    big = 43 in content[2:4]
    line, counter, pointer = ("HHQQ", "Q", "Q") if big else ("HHII", "H", "I")
    try:
        (place,) = struct.unpack_from(order + pointer, content, 8 if big else 4)
        (number,) = struct.unpack_from(order + counter, content, place)
    except (struct.error, OverflowError):
        return None
    size, first = struct.calcsize(order + line), place + struct.calcsize(order + counter)
    entries = []
    for at in range(first, min(first + number * size, len(content) - size + 1), size):
        tag, kind, count = struct.unpack_from(order + line[:3], content, at)
        (value,) = struct.unpack_from(order + ("H" if kind == _TIFF_SHORT else pointer), content, at + (size + 4) // 2)
        entries.append(TiffEntry(tag, kind, count, value, content[at : at + size]))
    return TiffDirectory(entries, first, order + counter, order + pointer)
