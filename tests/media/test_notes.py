"""What surrounds the pixels may be broken or a bomb: the picture opens as if it were not there."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tests.media.hostile import chunk, encoded, jpeg_with, noise, plain_tiff
from vscan_core.media.bare import bare_picture
from vscan_core.media.images import open_image

JUNK = np.random.default_rng(1).bytes(120)


def app(number: int, data: bytes) -> bytes:
    """A segment of a JPEG in which programs keep notes."""
    return bytes([0xFF, 0xE0 + number]) + struct.pack(">H", len(data) + 2) + data


def png_with(extra: bytes, at_the_end: bool = False) -> bytes:
    content = encoded(noise(), "PNG")
    at = len(content) - 12 if at_the_end else 33
    return content[:at] + extra + content[at:]


def text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("x", "A" * 30_000_000, zip=True)
    return encoded(noise(), "PNG", pnginfo=info)


def avif_with_junk() -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "A camera that is called by this name"
    content, notes = encoded(noise(), "AVIF", exif=exif), exif.tobytes()[6:]
    assert content.count(notes) == 1
    return content.replace(notes, JUNK[: len(notes)])


NOTES: dict[str, Callable[[], bytes]] = {
    "EXIF of a JPEG": lambda: jpeg_with(app(1, b"Exif\0\0" + JUNK)),
    "EXIF of a JPEG, all ones": lambda: jpeg_with(app(1, b"Exif\0\0" + b"\xff" * 24)),
    "EXIF of a JPEG, empty": lambda: jpeg_with(app(1, b"Exif\0\0")),
    "further pictures of a JPEG": lambda: jpeg_with(app(2, b"MPF\0" + JUNK)),
    "XMP of a JPEG": lambda: jpeg_with(app(1, b"http://ns.adobe.com/xap/1.0/\0" + JUNK)),
    "Photoshop's notes in a JPEG": lambda: jpeg_with(app(13, b"Photoshop 3.0\0" + b"8BIM" + b"\xff" * 9)),
    "profile of a JPEG": lambda: encoded(noise(), "JPEG", icc_profile=JUNK),
    "profile of a JPEG, cut off": lambda: jpeg_with(app(2, b"ICC_PROFILE\0")),
    "EXIF of a PNG": lambda: png_with(chunk(b"eXIf", JUNK)),
    "profile of a PNG": lambda: png_with(chunk(b"iCCP", b"x\0\0" + JUNK)),
    "profile of a PNG, a bomb": lambda: png_with(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(30_000_000)))),
    "text of a PNG, a bomb": text_bomb,
    "text of a PNG, a bomb at the end": lambda: png_with(chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(9**8))), True),
    "a wrong checksum": lambda: png_with(chunk(b"tEXt", b"x\0y")[:-1] + b"?"),
    "frames of a PNG, too short": lambda: png_with(chunk(b"acTL", b"") + chunk(b"fcTL", b"")),
    "EXIF of a WebP": lambda: encoded(noise(), "WEBP", lossless=True, exif=b"Exif\0\0" + JUNK),
    "EXIF of an AVIF": avif_with_junk,
    "EXIF of a TIFF": lambda: plain_tiff(tag_34665=(4, 1, 0xFFFFFF00), tag_34853=(4, 1, 3), tag_40965=(4, 1, 8)),
    "resolution of a TIFF": lambda: plain_tiff(tag_282=(5, 1, 0xFFFFFF00), tag_33432=(2, 90_000_000, 8)),
}


@pytest.mark.parametrize("kind", NOTES)
def test_broken_notes_are_ignored(tmp_path: Path, kind: str) -> None:
    (tmp_path / "picture").write_bytes(NOTES[kind]())
    assert open_image(tmp_path / "picture").size == (64, 48)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "MPO", "CMYK"])
def test_without_notes_the_pixels_are_the_same(tmp_path: Path, kind: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    picture = noise().convert("CMYK") if kind == "CMYK" else noise()
    whole = encoded(picture, "JPEG" if kind == "CMYK" else kind, exif=exif, icc_profile=JUNK)
    bare = bare_picture(whole)
    assert bare is not None and bare != whole
    (tmp_path / "whole").write_bytes(whole)
    (tmp_path / "bare").write_bytes(bare)
    assert open_image(tmp_path / "bare").tobytes() == open_image(tmp_path / "whole").tobytes()
    assert kind in ("AVIF", "TIFF") or b"A camera" not in bare or kind == "WEBP"


def test_a_note_that_can_be_read_counts_next_to_junk(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(noise(), "JPEG", exif=exif)
    (tmp_path / "picture").write_bytes(content[:2] + app(13, JUNK) + content[2:])
    assert open_image(tmp_path / "picture").size == (48, 64)


def test_what_is_not_built_like_a_picture_has_no_bare_one() -> None:
    assert bare_picture(b"BM" + bytes(60)) is None and bare_picture(b"II*\0") is None
