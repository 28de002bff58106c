"""One picture policy: opened from a path, opened lazily or held in memory, a picture gives the same pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import vscan_core as vc
from vscan_core.draw.canvas import at_drawing_size
from vscan_core.media.images import WORKING_SIDE, as_rgb, open_image, upright_size
from vscan_eval.files import opener
from vscan_eval.replies import Prompt, _inputs

ORIENTATION = 0x0112
MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"]
MODES += ["I", "F", "I;16", "I;16L", "I;16B", "I;16N"]


def scene(width: int = 60, height: int = 40) -> Image.Image:
    """Every corner looks different."""
    image = Image.new("RGB", (width, height), "teal")
    pencil = ImageDraw.Draw(image)
    pencil.rectangle((0, 0, width // 2, height // 3), fill="crimson")
    pencil.rectangle((width // 2, height // 2, width, height), fill="gold")
    return image


def noted(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def rotated(kind: str, orientation: int, size: tuple[int, int] = (60, 40)) -> Callable[[Path], None]:
    return lambda path: scene(*size).save(path, kind, exif=noted(orientation))


def saved(image: Image.Image, kind: str, **options: object) -> Callable[[Path], None]:
    return lambda path: image.save(path, kind, **options)


def ramp(dtype: str, top: float) -> Image.Image:
    return Image.fromarray(np.linspace(0, top, 60 * 40).reshape(40, 60).astype(dtype))


def png(depth: int, colour: int, row: bytes, clear: bytes) -> Callable[[Path], None]:
    """32 equal rows, of a kind that Pillow reads but does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, depth, colour, 0, 0, 0)) + chunk(b"tRNS", clear)
    pixels = chunk(b"IDAT", zlib.compress((b"\0" + row) * 32))
    return lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")) and None


FADING = scene().convert("RGBA")
FADING.putalpha(Image.linear_gradient("L").resize(FADING.size))
INDEXED = scene().quantize(8)
KINDS = {
    **{f"JPEG rotated {number}": rotated("JPEG", number) for number in range(1, 9)},
    **{f"{kind} rotated": rotated(kind, 6) for kind in ("PNG", "WEBP", "TIFF", "AVIF", "MPO")},
    "16-bit grey PNG": saved(ramp("uint16", 65535), "PNG"),
    "16-bit grey TIFF": saved(ramp("uint16", 65535), "TIFF"),
    "16-bit grey TIFF, big-endian": saved(ramp(">u2", 65535), "TIFF"),
    "16-bit grey PNG with a clear shade": png(16, 0, b"\x12\x34\x80\x00" * 16, b"\x12\x34"),
    "32-bit grey": saved(ramp("int32", 1e9), "TIFF"),
    "float grey to 1": saved(ramp("float32", 1), "TIFF"),
    "float grey from below 0": saved(Image.fromarray(np.linspace(-5, 9, 1600).reshape(40, 40).astype("f4")), "TIFF"),
    "transparent": saved(FADING, "PNG"),
    "transparent WebP": saved(FADING, "WEBP", lossless=True),
    "transparent grey": saved(FADING.convert("LA"), "PNG"),
    "palette": saved(INDEXED, "PNG"),
    "palette with a clear colour": saved(INDEXED, "PNG", transparency=2),
    "palette with alphas": saved(INDEXED, "PNG", transparency=bytes([0, 80, 160, 255])),
    "RGB with a clear colour": saved(scene(), "PNG", transparency=(0, 128, 128)),
    "grey with a clear shade": saved(scene().convert("L"), "PNG", transparency=scene().convert("L").getpixel((1, 1))),
    "bits with a clear one": png(1, 0, b"\xf0\x0f\xff\x00", b"\x00\x01"),
    "transparent GIF": saved(INDEXED, "GIF", transparency=2),
    "moving GIF": saved(scene(), "GIF", save_all=True, append_images=[Image.new("RGB", (60, 40))]),
    "CMYK JPEG": saved(scene().convert("CMYK"), "JPEG"),
    "CMYK TIFF": saved(scene().convert("CMYK"), "TIFF"),
    "LAB": saved(Image.merge("LAB", scene().split()), "TIFF"),
    "bits": saved(scene().convert("1"), "TIFF"),
    "BMP": saved(scene(), "BMP"),
    "large JPEG": saved(scene(4500, 3100), "JPEG"),
    "large and rotated": rotated("JPEG", 8, (4500, 3100)),
    "large PNG, turned and grey": lambda path: scene(2500, 900).convert("L").save(path, "PNG", exif=noted(5)),
}


@pytest.fixture(params=KINDS)
def path(request, tmp_path) -> Path:
    file = tmp_path / "picture"
    KINDS[request.param](file)
    return file


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.mode == other.mode and one.size == other.size and one.tobytes() == other.tobytes()


def test_every_way_in_gives_the_same_pixels(mini, path) -> None:
    opened = open_image(path)
    assert opened.mode == "RGB" and not opened.info and max(opened.size) <= WORKING_SIDE
    with Image.open(path) as loaded:
        loaded.load()
    wanted = mini.inputs(opened, "What is it?")["pixel_values"]
    for image in (Image.open(path), loaded, loaded.copy(), opener(path)()):
        assert same(as_rgb(image), opened)
        assert torch.equal(mini.inputs(image, "What is it?")["pixel_values"], wanted)
    prepared = _inputs(mini, [Prompt(Image.open(path), "What is it?"), Prompt(opened, "Why?")])
    assert torch.equal(prepared["pixel_values"], wanted.repeat(2, 1, 1, 1))
    assert same(at_drawing_size(Image.open(path)), at_drawing_size(opened))


def test_the_picture_given_stays_as_it_is(path) -> None:
    image, untouched = Image.open(path), Image.open(path)
    size = image.size
    as_rgb(image)
    upright_size(image)
    assert image.size == size and same(image, untouched) and image.info == untouched.info


def test_a_second_time_changes_nothing(path) -> None:
    once = as_rgb(Image.open(path))
    assert as_rgb(once) is once


def test_boxes_are_in_the_upright_original(mini, path) -> None:
    with Image.open(path) as image:
        image.load()
        sideways = image.getexif().get(ORIENTATION, 1) > 4
        width, height = reversed(image.size) if sideways else image.size
    edge = min(width, height)
    assert upright_size(image) == (width, height)
    boxes = mini.boxes(image)
    middle = [(width - edge) / 2, (height - edge) / 2, (width + edge) / 2, (height + edge) / 2]
    reach = [*boxes[:, :2].amin(0).tolist(), *boxes[:, 2:].amax(0).tolist()]
    assert reach == pytest.approx(middle, abs=edge / 100)  # the model sees the square in the middle


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_in_memory(mode) -> None:
    image = Image.new(mode, (40, 30))
    before = (image.mode, image.size, image.tobytes(), dict(image.info))
    flat = as_rgb(image)
    assert (flat.mode, flat.size) == ("RGB", (40, 30)) and (flat is image) == (mode == "RGB")
    clear = mode in ("LA", "La", "PA", "RGBA", "RGBa", "CMYK")  # CMYK: no ink
    assert mode in ("YCbCr", "LAB") or flat.getpixel((5, 5)) == ((255, 255, 255) if clear else (0, 0, 0))
    assert before == (image.mode, image.size, image.tobytes(), dict(image.info))


def test_a_note_to_rotate_is_followed_once_also_in_copies(tmp_path) -> None:
    rotated("PNG", 6)(tmp_path / "picture")
    once = as_rgb(Image.open(tmp_path / "picture").convert("RGBA"))
    assert once.size == (40, 60)
    once.save(tmp_path / "again", "PNG")
    assert same(open_image(tmp_path / "again"), once)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "BMP"])
def test_a_damaged_picture_is_one_sentence_also_when_opened_lazily(mini, tmp_path, kind) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    noise.save(tmp_path / "picture", kind)
    content = (tmp_path / "picture").read_bytes()
    (tmp_path / "picture").write_bytes(content[: len(content) * 2 // 3])
    for ask in (mini.inputs, mini.preview):
        with pytest.raises(vc.InputError, match=r"^This picture file is damaged or incomplete; please choose another"):
            ask(Image.open(tmp_path / "picture"), "Is there a cat?" if ask == mini.inputs else vc.VScan())


def test_a_picture_that_was_closed_is_one_sentence(mini, tmp_path) -> None:
    scene().save(tmp_path / "picture", "PNG")
    with Image.open(tmp_path / "picture") as closed:
        pass
    with pytest.raises(vc.InputError, match="closed before it was read"):
        mini.inputs(closed, "Is there a cat?")


@pytest.mark.parametrize("given", [None, np.zeros((30, 40, 3), np.uint8), "picture.png", torch.zeros(3, 30, 40)])
def test_no_picture_is_one_sentence(mini, given) -> None:
    for refused in (as_rgb, upright_size, mini.boxes, lambda one: mini.inputs(one, "Is there a cat?")):
        with pytest.raises(vc.InputError, match=r"^There is no picture: [^.]*\.$"):
            refused(given)


@pytest.mark.parametrize("size", [(0, 0), (0, 20), (20, 0)])
def test_no_pixels_are_one_sentence(mini, size) -> None:
    with pytest.raises(vc.InputError, match="choose one that has pixels"):
        mini.inputs(Image.new("RGB", size), "Is there a cat?")
