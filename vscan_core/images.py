"""The picture policy: open a file that a stranger sent, or say in one sentence why not.

Nothing is decoded before the size written in the file's header has been read and allowed. The result is always
upright, opaque 8-bit RGB of a sane size, so that no later stage has to think about formats.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vscan_core.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF")
MAX_MEGAPIXELS = 40
MAX_ASPECT = 50  # long side : short side
MIN_SIDE = 16  # pixels
WORKING_SIDE = 2048  # longer side after opening; models look at less

_ACCEPTED = "please use a JPEG, PNG, WebP, GIF, BMP, AVIF or TIFF picture"
_DAMAGED = "This picture file is damaged or incomplete; please choose another one."
_TOO_BIG = f"This picture has more than {MAX_MEGAPIXELS} megapixels; please make it smaller first."


def open_image(path: str | Path) -> Image.Image:
    """Open a picture as upright RGB, at most WORKING_SIDE pixels on its longer side; refuse what is not one.

    Of an animation the first frame is taken, transparency is laid on white, and 16-bit grey is scaled to 8 bit.
    """
    try:
        image = Image.open(path, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(_TOO_BIG) from None
    except UnidentifiedImageError:
        raise InputError(_why_unknown(Path(path))) from None
    except FileNotFoundError:
        raise InputError("There is no such picture file.") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error):
        raise InputError(_why_unknown(Path(path))) from None
    with image:
        _check_size(*image.size)
        try:
            return _to_rgb(image)
        except Exception:
            raise InputError(_DAMAGED) from None


def _check_size(width: int, height: int) -> None:
    """Refuse what is too large to decode or too small or thin to look at."""
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise InputError(_TOO_BIG)
    if min(width, height) < MIN_SIDE:
        raise InputError(
            f"This picture is {width} x {height} pixels; please choose one of at least {MIN_SIDE} pixels on each side."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(
            f"This picture is {width} x {height} pixels, which is too long and thin; "
            f"please choose one whose sides differ at most {MAX_ASPECT} times."
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    """Decode, shrink, turn upright and convert."""
    if image.format in ("JPEG", "MPO"):  # MPO: several pictures in one .jpg, as phones write
        image.draft("RGB", (WORKING_SIDE, WORKING_SIDE))  # decodes large JPEGs at a half, a quarter ... for free
    image.load()
    flat = _opaque(_eight_bit(image))
    flat.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.LANCZOS)
    return _upright(flat, image)


def _upright(flat: Image.Image, source: Image.Image) -> Image.Image:
    """Apply the rotation that the camera noted in the file."""
    try:
        orientation = source.getexif().get(0x0112, 1)
    except Exception:
        return flat
    exif = flat.getexif()
    exif.clear()
    exif[0x0112] = orientation if orientation in range(1, 9) else 1
    return ImageOps.exif_transpose(flat)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale grey of more than 8 bit to 8 bit; Pillow's own convert would clip it to white.

    65535 -> 255, 32768 -> 127 for 16 bit. 32-bit and floating-point grey has no agreed white point: 0 to 1 is taken
    as such, up to 65535 as 16 bit, and anything else is stretched from its darkest to its lightest pixel.
    """
    if not (image.mode == "F" or image.mode.startswith("I")):
        return image
    grey = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    low, high = float(grey.min()), float(grey.max())
    if image.mode == "F" and low >= 0 and high <= 1:
        grey = grey * 255
    elif low >= 0 and high <= 65535:
        grey = grey / 257
    else:
        grey = (grey - low) / max(high - low, 1.0) * 255
    return Image.fromarray(grey.astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    """RGB without transparency; what shines through is white paper."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    paper = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(paper, layer).convert("RGB")


def _why_unknown(path: Path) -> str:
    """One sentence about a file that is none of FORMATS, from its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError:
        return "This picture file cannot be read."
    if not head:
        return f"This file is empty; {_ACCEPTED}."
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        return f"HEIC pictures cannot be read here; {_ACCEPTED}."
    if b"<svg" in head.lower():
        return f"SVG drawings cannot be read here; {_ACCEPTED}."
    known = head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*"))
    if known or head[8:12] == b"WEBP" or head[4:12] == b"ftypavif":
        return _DAMAGED
    return f"This file is not a picture that can be read here; {_ACCEPTED}."
