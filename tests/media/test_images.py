"""The picture policy: what is opened, how it is converted, and what is refused in one sentence."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vscan_core.errors import InputError
from vscan_core.media.images import MAX_MEGAPIXELS, WORKING_SIDE, open_image

RED, BLUE = (220, 20, 30), (20, 40, 220)


@pytest.fixture
def two_halves() -> Image.Image:
    """64 x 32: left half red, right half blue."""
    image = Image.new("RGB", (64, 32), BLUE)
    image.paste(RED, (0, 0, 32, 32))
    return image


def saved(tmp_path: Path, image: Image.Image, kind: str, **options: object) -> Path:
    path = tmp_path / f"picture.{kind.lower()}"
    image.save(path, kind, **options)
    return path


def close(pixel: object, wanted: tuple[int, int, int], slack: int = 30) -> bool:
    return bool(np.abs(np.array(pixel, int) - wanted).max() <= slack)


def png_header_of(width: int, height: int) -> bytes:
    """A valid PNG of a few bytes that claims to have width x height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF"])
def test_every_accepted_format_becomes_the_same_picture(tmp_path: Path, two_halves: Image.Image, kind: str) -> None:
    image = open_image(saved(tmp_path, two_halves, kind))
    assert image.mode == "RGB" and image.size == (64, 32)
    assert close(image.getpixel((5, 16)), RED) and close(image.getpixel((58, 16)), BLUE)


def test_the_name_of_the_file_does_not_matter(tmp_path: Path, two_halves: Image.Image) -> None:
    path = saved(tmp_path, two_halves, "PNG").rename(tmp_path / "picture.svg")
    assert open_image(path).size == (64, 32)


def test_several_pictures_in_one_jpeg_as_phones_write(tmp_path: Path, two_halves: Image.Image) -> None:
    path = saved(tmp_path, two_halves, "MPO", save_all=True, append_images=[Image.new("RGB", (64, 32))])
    assert close(open_image(path).getpixel((5, 16)), RED)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_rotation_is_applied(tmp_path: Path, two_halves: Image.Image, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = open_image(saved(tmp_path, two_halves, "JPEG", exif=exif, quality=95))
    red_at = {1: "left", 2: "right", 3: "right", 4: "left", 5: "top", 6: "top", 7: "bottom", 8: "bottom"}[orientation]
    assert image.size == ((64, 32) if orientation < 5 else (32, 64))
    width, height = image.size
    spot = {"left": (5, height // 2), "right": (width - 5, height // 2)} | {
        "top": (width // 2, 5),
        "bottom": (width // 2, height - 5),
    }
    assert close(image.getpixel(spot[red_at]), RED)


def test_a_nonsense_rotation_is_ignored(tmp_path: Path, two_halves: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    assert open_image(saved(tmp_path, two_halves, "JPEG", exif=exif)).size == (64, 32)


def test_cmyk(tmp_path: Path, two_halves: Image.Image) -> None:
    image = open_image(saved(tmp_path, two_halves.convert("CMYK"), "JPEG", quality=95))
    assert close(image.getpixel((5, 16)), RED, 60) and close(image.getpixel((58, 16)), BLUE, 60)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    clear = Image.new("RGBA", (32, 32), (0, 0, 0, 0)).convert(mode)
    assert open_image(saved(tmp_path, clear, "PNG")).getpixel((3, 3)) == (255, 255, 255)


def test_half_transparent_black_is_grey(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("RGBA", (32, 32), (0, 0, 0, 128)), "PNG")
    assert close(open_image(path).getpixel((3, 3)), (127, 127, 127), 2)


def test_palette_with_a_transparent_colour(tmp_path: Path, two_halves: Image.Image) -> None:
    indexed = two_halves.quantize(4)
    path = saved(tmp_path, indexed, "PNG", transparency=indexed.getpixel((58, 16)))
    image = open_image(path)
    assert close(image.getpixel((5, 16)), RED) and image.getpixel((58, 16)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, kind: str) -> None:
    ramp = np.linspace(0, 65535, 64 * 32).astype(np.uint16).reshape(32, 64)
    image = np.asarray(open_image(saved(tmp_path, Image.fromarray(ramp), kind)))
    assert image[0, 0, 0] == 0 and image[-1, -1, 0] == 255 and 120 <= image[16, 0, 0] <= 135


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.full((20, 20), 0.5, np.float32), 127),
        (np.full((20, 20), 32768, np.int32), 127),
        (np.where(np.arange(20) < 10, -5.0, 1e6).astype(np.float32) * np.ones((20, 1), np.float32), 0),
        (np.full((20, 20), np.nan, np.float32), 0),
    ],
)
def test_32_bit_grey(tmp_path: Path, values: np.ndarray, wanted: int) -> None:
    image = open_image(saved(tmp_path, Image.fromarray(values), "TIFF"))
    assert abs(image.getpixel((0, 0))[0] - wanted) <= 1


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (32, 32), RED), Image.new("RGB", (32, 32), BLUE)]
    path = saved(tmp_path, frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    assert close(open_image(path).getpixel((3, 3)), RED)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_black_and_white(tmp_path: Path, mode: str) -> None:
    assert open_image(saved(tmp_path, Image.new(mode, (32, 32), 255), "PNG")).getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_large_picture_is_shrunk(tmp_path: Path, kind: str) -> None:
    image = open_image(saved(tmp_path, Image.new("RGB", (5000, 2500), RED), kind))
    assert image.size == (WORKING_SIDE, WORKING_SIDE // 2) and close(image.getpixel((9, 9)), RED)


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (30_000, 30_000), (60_000, 60_000), (8001, 5000)])
def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header_of(width, height))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match=f"more than {MAX_MEGAPIXELS} megapixels"):
            open_image(path)


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 3), (15, 400)])
def test_too_small_or_thin(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"{size[0]} x {size[1]} pixels"):
        open_image(saved(tmp_path, Image.new("RGB", size), "PNG"))


def test_long_and_thin(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too long and thin"):
        open_image(saved(tmp_path, Image.new("RGB", (16, 5000)), "PNG"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP"])
def test_a_truncated_file(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"damaged or incomplete|not a picture"):
        open_image(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "empty"),
        (b"hello, I am text", "not a picture"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>', "SVG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64, "HEIC"),
        (b"%PDF-1.7 ...", "not a picture"),
        (b"\xff\xd8\xff\xe0 and then nothing", "damaged"),
    ],
)
def test_what_is_not_a_picture(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=sentence) as caught:
        open_image(path)
    assert str(tmp_path) not in str(caught.value) and str(caught.value).count(". ") == 0


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such picture"):
        open_image(tmp_path / "nothing.png")
    with pytest.raises(InputError, match="cannot be read"):
        open_image(tmp_path)


def test_random_damage_never_escapes_as_another_error(tmp_path: Path, two_halves: Image.Image) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / "picture"
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
        original = bytearray(saved(tmp_path, two_halves, kind).read_bytes())
        for _ in range(40):
            damaged = bytearray(original)
            for place in rng.integers(0, len(damaged), 4):
                damaged[place] = int(rng.integers(256))
            path.write_bytes(damaged)
            with contextlib.suppress(InputError):
                assert open_image(path).mode == "RGB"


def test_nothing_of_the_file_but_its_pixels_survives(tmp_path: Path, two_halves: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    image = open_image(saved(tmp_path, two_halves, "JPEG", exif=exif))
    copy = io.BytesIO()
    image.save(copy, "JPEG")
    assert b"A camera" not in copy.getvalue()
