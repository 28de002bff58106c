"""Pictures in: every file becomes upright 8-bit RGB, or is refused in one sentence.

`as_rgb` makes any picture upright, opaque 8-bit RGB of a sane size, so that later code need not think about formats.
`open_image` does it for an untrusted file: nothing is decoded before it is known that it is little work. What still
takes long or much memory can be stopped where another process does it: see `isolated.py`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from vscan_core.errors import InputError
from vscan_core.media.bare import bare_picture
from vscan_core.media.flatten import flattened
from vscan_core.media.refusals import too_much_memory
from vscan_core.media.work import MAX_MEGAPIXELS as MAX_MEGAPIXELS
from vscan_core.media.work import TOO_MANY_PIXELS, check_memory, decoder_bytes

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF")
MAX_ASPECT = 50  # long side : short side
MIN_SIDE = 16  # pixels
WORKING_SIDE = 2048  # longer side after opening; models look at less

_ACCEPTED = "please use a JPEG, PNG, WebP, GIF, BMP, AVIF or TIFF picture"
_DAMAGED = "This picture file is damaged or incomplete; please choose another one."
_CLOSED = "This picture was closed before it was read; keep its file open, or open it with open_image."
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


class _Damaged(InputError):
    """The file is a picture, but not a whole one."""


def open_image(path: str | Path) -> Image.Image:
    """Open a picture file and prepare it with `as_rgb`. Of an animation, the first frame is taken.

    Notes and profiles in the file that cannot be read are ignored. Raises InputError if it is not a picture, or is
    damaged, too large, too small, too thin or too much work.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError("There is no such picture file.") from None
    except OSError:
        raise InputError("This picture file cannot be read.") from None
    decoder = decoder_bytes(content)
    try:
        return _decoded(content, decoder)
    except _Damaged as refusal:
        bare = bare_picture(content)
        if bare is None or bare == content:
            raise InputError(str(refusal)) from None
    try:
        return _decoded(bare, decoder)
    except _Damaged as refusal:
        raise InputError(str(refusal)) from None


def _decoded(content: bytes, decoder: Callable[[int], int]) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(TOO_MANY_PIXELS) from None
    except MemoryError:
        raise InputError(too_much_memory("picture")) from None
    except Exception:  # whatever Pillow says of a file that is none of FORMATS
        why = _why_unknown(content)
        raise (_Damaged if why == _DAMAGED else InputError)(why) from None
    with image:
        _check_shape(*image.size)
        check_memory(image, decoder)
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
        flat = _shrunk(image, small)
    except Exception as error:
        raise _refusal(error) from None
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


def _shrunk(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Opaque 8-bit RGB of this size, in a new picture; where colours need no thought, it is shrunk first."""
    plain = image.mode in ("RGB", "L") and not image.has_transparency_data
    flat = image if plain else flattened(image)
    if flat.size != size:
        flat = flat.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return flat.convert("RGB") if flat is image or flat.mode != "RGB" else flat


def _check_shape(width: int, height: int) -> None:
    """Refuse what is too small or too thin to be useful."""
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
    except Exception as error:
        raise (InputError(_CLOSED) if closed else _refusal(error)) from None
    if not all(image.size):
        raise InputError(f"This picture is {image.width} x {image.height} pixels; please choose one that has pixels.")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns the picture upright, by its EXIF orientation; None if there is nothing to do."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION))
    except Exception:  # damaged EXIF data is no reason to refuse the picture
        return None


def _refusal(error: Exception) -> InputError:
    """What to say of a picture that could not be decoded. Pillow's decoders report a lack of memory in two ways."""
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return InputError(too_much_memory("picture"))
    return _Damaged(_DAMAGED)


def _why_unknown(content: bytes) -> str:
    """One sentence about a file that is none of FORMATS, from its first bytes."""
    head = content[:512]
    if not head:
        return f"This file is empty; {_ACCEPTED}."
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        return f"HEIC pictures cannot be read here; {_ACCEPTED}."
    if b"<svg" in head.lower():
        return f"SVG drawings cannot be read here; {_ACCEPTED}."
    known = head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))
    if known or head[8:12] == b"WEBP" or head[4:12] == b"ftypavif":
        return _DAMAGED
    return f"This file is not a picture that can be read here; {_ACCEPTED}."
