"""Small files that ask for much work are refused before anything is decoded; ordinary ones are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.media.hostile import (
    TOO_MANY_PIXELS,
    TOO_SLOW,
    commented_gif,
    encoded,
    many_scans,
    noise,
    plain_tiff,
    png,
)
from vscan_core.errors import InputError
from vscan_core.media import images, work
from vscan_core.media.images import open_image


@pytest.fixture
def nothing_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding fails the test."""
    monkeypatch.setattr(images, "as_rgb", lambda image: pytest.fail("it was decoded"))


def refusal(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "picture"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_image(path)
    return str(caught.value)


@pytest.mark.parametrize("kind", TOO_SLOW)
def test_what_takes_long_is_refused(tmp_path: Path, kind: str, nothing_decoded: None) -> None:
    sentence = refusal(tmp_path, TOO_SLOW[kind]())
    assert sentence == "This picture takes too long to read; please save it again as a plain JPEG or PNG."


@pytest.mark.parametrize("kind", TOO_MANY_PIXELS)
def test_too_many_pixels_are_told(tmp_path: Path, kind: str, nothing_decoded: None) -> None:
    assert "more than 40 megapixels" in refusal(tmp_path, TOO_MANY_PIXELS[kind]())


def test_what_is_usual_is_read(tmp_path: Path) -> None:
    files = {
        "progressive": encoded(noise(), "JPEG", progressive=True),
        "more scans than usual": many_scans(64, 48, 60),
        "comments": commented_gif(300),
        "plain TIFF": plain_tiff(),
        "strips": encoded(noise(64, 900), "TIFF", strip_size=64 * 3),
        "colour profile": encoded(noise(), "JPEG", icc_profile=bytes(3_000_000)),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        assert open_image(tmp_path / name).mode == "RGB", name


@pytest.mark.parametrize(
    ("kind", "options", "mode", "megapixels"),
    [
        ("WEBP", {"lossless": True, "method": 0, "quality": 0}, "RGBA", 26),
        ("AVIF", {"speed": 10, "quality": 0}, "RGB", 29),
        ("TIFF", {"compression": "tiff_adobe_deflate"}, "CMYK", 4),
        ("JPEG", {"progressive": True}, "CMYK", 4),
        ("JPEG", {}, "CMYK", 8),
        ("PNG", {}, "I;16", 10),
        ("PNG", {}, "P", 12),
        ("PNG", {}, "L", 12),
    ],
)
def test_costly_kinds_may_have_fewer_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, options: dict, mode: str, megapixels: int
) -> None:
    if megapixels < 20:  # the same with a tenth of the budget, which is faster
        monkeypatch.setattr(work, "MAX_DECODING_MB", 64)
    (tmp_path / "small").write_bytes(encoded(Image.new(mode, (1000, 900)), kind, **options))
    assert open_image(tmp_path / "small").size == (1000, 900)
    side = int((megapixels * 1.12e6 + 1e6) ** 0.5)
    monkeypatch.setattr(images, "as_rgb", lambda image: pytest.fail("it was decoded"))
    assert f"may have at most {megapixels} megapixels" in refusal(
        tmp_path, encoded(Image.new(mode, (side, side)), kind, **options)
    )


def test_a_lack_of_memory_is_not_called_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (MemoryError(), OSError("out of memory error when reading image file")):

        def fail(image: Image.Image, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(images, "flattened", fail)
        assert "needs too much memory" in refusal(tmp_path, png(64, 48, colour=6))


def test_bands_need_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from vscan_core.media import flatten

    sizes: list[int] = []
    opaque = flatten._opaque
    monkeypatch.setattr(flatten, "BAND_PIXELS", 5_000)
    monkeypatch.setattr(flatten, "_opaque", lambda band: sizes.append(band.width * band.height) or opaque(band))
    picture = noise(100, 730).convert("RGBA")
    banded = flatten.flattened(picture)
    assert max(sizes) <= 5_000 and sum(sizes) == 73_000
    monkeypatch.undo()
    assert banded.tobytes() == flatten.flattened(picture).tobytes()
