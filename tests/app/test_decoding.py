"""Pictures of visitors are decoded in another process, whoever asks, and bad ones are told in one sentence."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file

from app.session import sources
from app.session.examples import Example
from app.session.session import Session
from app.session.sources import Clip
from tests.app.conftest import serving
from tests.app.fake import FakeEngine
from tests.media.hostile import TOO_MANY_PIXELS, TOO_SLOW, encoded, jpeg_with, noise, png
from tests.video_files import shades, write
from vscan_core.errors import InputError
from vscan_core.media import images, videos

JUNK_EXIF = b"\xff\xe1\0\x20Exif\0\0" + b"\xff" * 24
PICTURES: dict[str, tuple[Callable[[], bytes], str]] = {
    "an ordinary one": (lambda: encoded(noise(), "PNG"), ""),
    "junk EXIF": (lambda: jpeg_with(JUNK_EXIF), ""),
    "many scans": (TOO_SLOW["scans of a large JPEG"], "too long to read"),
    "many strips": (TOO_SLOW["strips of a TIFF"], "too long to read"),
    "a large canvas": (TOO_MANY_PIXELS["WebP's canvas"], "more than 40 megapixels"),
    "cut off": (lambda: encoded(noise(), "PNG")[:3000], "damaged or incomplete"),
    "no picture": (lambda: b"hello", "not a picture"),
    "an ordinary one again": (lambda: encoded(noise(80, 60), "JPEG"), ""),
}


@pytest.fixture
def only_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding in this process fails the test."""
    for module, name in ((images, "as_rgb"), (videos, "_video")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("it was decoded in the server's own process"))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    path = tmp_path / "example.png"
    noise().save(path)
    with serving(FakeEngine(), [Example(str(path), "What is there?")]) as server:
        yield Client(server.url, verbose=False)


def test_every_kind_over_the_network(client: Client, tmp_path: Path, only_elsewhere: None) -> None:
    for name, (content, sentence) in PICTURES.items():
        path = tmp_path / "picture.png"
        path.write_bytes(content())
        asked: Any = (handle_file(str(path)), 0.2, "mini", "vscan")
        if sentence:
            with pytest.raises(Exception, match=sentence):
                client.predict(*asked, api_name="/overlay")
        else:
            assert client.predict(*asked, api_name="/overlay")[1]["tokens"] == 576, name


def test_pictures_and_videos_have_a_process_each(tmp_path: Path, only_elsewhere: None) -> None:
    session = Session(FakeEngine())
    noise(90, 70).save(tmp_path / "picture.png")
    clip = Clip(write(tmp_path / "video.mp4", shades(9)), 4)
    assert session.open(str(tmp_path / "picture.png")).image.size == (90, 70)
    assert len(session.open(clip).image.frames) == 4
    workers = {sources.PICTURE_READER.worker_id, sources.VIDEO_READER.worker_id}
    assert len(workers) == 2 and not workers & {None, os.getpid()}
    assert session.open(clip) is session.open(clip)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="the system cannot stop a process")
def test_one_that_takes_too_long_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(FakeEngine())
    for name, size in (("one", (30, 40)), ("other", (50, 60))):
        noise(*size).save(tmp_path / name, "PNG")
    session.open(str(tmp_path / "one"))
    os.kill(sources.PICTURE_READER.worker_id or 0, signal.SIGSTOP)
    monkeypatch.setattr(sources.PICTURE_READER, "seconds", 0.2)
    with pytest.raises(InputError, match="too long to read"):
        session.open(str(tmp_path / "other"))
    monkeypatch.undo()
    assert session.open(str(tmp_path / "other")).image.size == (50, 60)


def test_a_large_picture_leaves_the_server_small(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    (tmp_path / "large.png").write_bytes(png(6300, 6300, colour=6))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert Session(FakeEngine()).open(str(tmp_path / "large.png")).image.size == (2048, 2048)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB; decoding takes 300,000
