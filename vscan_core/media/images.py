"""Pictures in: every file becomes upright 8-bit RGB, or is refused in one sentence.

`as_rgb` makes any picture upright, opaque 8-bit RGB of a sane size, so that later code need not think about formats.
`open_image` does it for an untrusted file: nothing is decoded before the size in its header has been checked.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vscan_core.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF")
MAX_MEGAPIXELS = 40
MAX_ASPECT = 50  # long side : short side
MIN_SIDE = 16  # pixels
WORKING_SIDE = 2048  # longer side after opening; models look at less

_ACCEPTED = "please use a JPEG, PNG, WebP, GIF, BMP, AVIF or TIFF picture"
_DAMAGED = "This picture file is damaged or incomplete; please choose another one."
_CLOSED = "This picture was closed before it was read; keep its file open, or open it with open_image."
_TOO_BIG = f"This picture has more than {MAX_MEGAPIXELS} megapixels; please make it smaller first."
_ORIENTATION = 0x0112  # the EXIF tag in which cameras note how they were held
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(path: str | Path) -> Image.Image:
    """Open a picture file and prepare it with `as_rgb`. Of an animation, the first frame is taken.

    Raises InputError if it is not a picture, or is damaged, too large, too small or too thin.
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
        return as_rgb(image)


def as_rgb(image: Image.Image) -> Image.Image:
    """Any picture as upright RGB, at most WORKING_SIDE pixels on its longer side; the one given is not changed.

    Transparent parts become white, and grey of more than 8 bit is scaled to 8 bit. A picture that needs no change is
    returned itself, so a second call changes nothing. Raises InputError if there is no picture or it is damaged.
    """
    _read(image)
    turn, small = _turn(image), working_size(*image.size)
    rgb = type(image) is Image.Image and image.mode == "RGB" and not image.has_transparency_data
    if rgb and turn is None and small == image.size:
        return image
    try:
        flat = _opaque(_eight_bit(image))
    except Exception:
        raise InputError(_DAMAGED) from None
    if flat.size != small:
        flat = flat.resize(small, Image.Resampling.LANCZOS, reducing_gap=2.0)
    if turn is not None:
        flat = flat.transpose(turn)
    flat.info = {}  # the orientation has been applied; the rest is private
    return flat


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of a picture in its own pixels, once the orientation noted by the camera is applied."""
    _read(image)
    width, height = image.size
    on_its_side = _turn(image) in [_TURNS[tag] for tag in (5, 6, 7, 8)]
    return (height, width) if on_its_side else (width, height)


def working_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) after shrinking to WORKING_SIDE on the longer side. working_size(4096, 1000) = (2048, 500)."""
    scale = min(1.0, WORKING_SIDE / max(width, height))
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _check_size(width: int, height: int) -> None:
    """Refuse what is too large to decode, or too small or too thin to be useful."""
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


def _read(image: Image.Image) -> None:
    """Decode a picture that has been opened but not yet read; InputError if that is not possible."""
    if not isinstance(image, Image.Image):
        given = "choose one first" if image is None else f"make a PIL image of this {type(image).__name__} first"
        raise InputError(f"There is no picture: {given}.")
    closed = getattr(image, "fp", None) is None
    try:
        image.load()
    except Exception:
        raise InputError(_CLOSED if closed else _DAMAGED) from None
    if not all(image.size):
        raise InputError(f"This picture is {image.width} x {image.height} pixels; please choose one that has pixels.")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns the picture upright, by its EXIF orientation; None if there is nothing to do."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION))
    except Exception:  # damaged EXIF data is no reason to refuse the picture
        return None


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale grey of more than 8 bit to 8 bit; Pillow's own convert would clip it to white.

    65535 -> 255, 32768 -> 127 for 16 bit. 32-bit and floating-point grey has no agreed white point: 0 to 1 is taken
    as such, up to 65535 as 16 bit, and anything else is stretched from its darkest to its lightest pixel.
    """
    if not (image.mode == "F" or image.mode.startswith("I")):
        return image
    raw = np.asarray(image)
    grey = np.nan_to_num(raw.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(grey.min()), float(grey.max())
    if image.mode == "F" and low >= 0 and high <= 1:
        grey = grey * 255
    elif low >= 0 and high <= 65535:
        grey = grey / 257
    else:
        grey = (grey - low) / ((high - low) or 1.0) * 255
    clear = image.info.get("transparency")  # the one shade that is transparent, if any: white, as in `_opaque`
    return Image.fromarray(np.where(raw == clear, 255, grey).astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    """RGB without transparency, on a white background; always a new picture."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
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
