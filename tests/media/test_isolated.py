"""Files are read in a process of its own: with the same result, in time, in memory, in turn, and it ends with ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

import vscan_core
from tests.media.hostile import TOO_SLOW, encoded, jpeg_with, noise, png
from tests.video_files import shades, write
from vscan_core.errors import InputError
from vscan_core.media.images import open_image
from vscan_core.media.isolated import MediaReader
from vscan_core.media.videos import open_video

PATIENT = 120.0  # seconds; never reached
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the system tells nothing about processes")
with_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")


@pytest.fixture
def reader() -> Iterator[MediaReader]:
    made = MediaReader(PATIENT, 1000)
    yield made
    made.close()


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A file that goes on for ever: whoever reads it waits until somebody writes."""
    path = tmp_path / "endless"
    os.mkfifo(path)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    noise(300, 200).save(path)
    return path


def wait_for(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def runs(process: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def refusal(reader: MediaReader, path: Path) -> str:
    with pytest.raises(InputError) as caught:
        reader.image(path)
    return str(caught.value)


def test_pictures_and_videos_are_the_same_as_in_this_process(reader, picture, tmp_path) -> None:
    assert reader.image(picture).tobytes() == open_image(picture).tobytes()
    clip = write(tmp_path / "video.mp4", shades(9))
    there, here = reader.video(clip, 4), open_video(clip, 4)
    assert there.times == here.times and len(there.frames) == 4
    assert [frame.tobytes() for frame in there.frames] == [frame.tobytes() for frame in here.frames]
    assert there.size == here.size


def test_one_process_reads_all(reader, picture, tmp_path) -> None:
    reader.image(picture)
    first = reader.worker_id
    assert first not in (None, os.getpid())
    (tmp_path / "no").write_bytes(b"hello")
    assert "not a picture" in refusal(reader, tmp_path / "no")
    assert "no such picture" in refusal(reader, tmp_path / "nowhere")
    (tmp_path / "slow").write_bytes(TOO_SLOW["scans of a small JPEG"]())
    assert "too long to read" in refusal(reader, tmp_path / "slow")
    (tmp_path / "junk").write_bytes(jpeg_with(b"\xff\xe1\0\x20Exif\0\0" + b"\xff" * 24))
    assert reader.image(tmp_path / "junk").size == (64, 48)
    with pytest.raises(InputError, match="not a video"):
        reader.video(picture, 4)
    assert reader.worker_id == first


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="the system cannot stop a process")
def test_at_the_deadline_it_is_killed_and_the_next_file_is_read(picture, caplog) -> None:
    reader = MediaReader(PATIENT, 1000)
    for read, sentence in (
        (reader.image, "This picture takes too long to read; please save it again as a plain JPEG or PNG."),
        (reader.video, "This video takes too long to read; please make it shorter or its frames smaller."),
    ):
        assert reader.image(picture).size == (300, 200)
        stopped, reader.seconds = reader.worker_id, 0.2
        os.kill(stopped, signal.SIGSTOP)
        with pytest.raises(InputError) as caught:
            read(picture)
        assert str(caught.value) == sentence
        reader.seconds = PATIENT
        assert reader.image(picture).size == (300, 200) and reader.worker_id != stopped
    assert len(caplog.records) == 2 and str(picture) not in caplog.text
    reader.close()


@on_linux
def test_memory_is_limited_and_is_not_called_damage(tmp_path, picture) -> None:
    reader = MediaReader(PATIENT, 60)
    (tmp_path / "large").write_bytes(png(6300, 6300))
    assert open_image(tmp_path / "large").size == (2048, 2048)  # allowed where memory is not limited
    assert refusal(reader, tmp_path / "large") == (
        "This picture needs too much memory to read; please save it again as a plain JPEG or PNG."
    )
    assert reader.image(picture).size == (300, 200)
    reader.close()


@with_pipes
@pytest.mark.parametrize(
    ("how", "sentence"), [("SIGSEGV", "cannot be read here"), ("SIGKILL", "too much memory"), ("SIGALRM", "too long")]
)
def test_a_process_that_dies_costs_one_file(reader, endless, picture, how, sentence) -> None:
    reader.image(picture)
    process = reader.worker_id
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(refusal(reader, endless)))
    thread.start()
    with endless.open("wb"):  # from here on it reads
        os.kill(process, getattr(signal, how))
        thread.join(60)
    assert sentence in said[0]
    assert reader.image(picture).size == (300, 200) and reader.worker_id != process
    os.kill(reader.worker_id, signal.SIGKILL)
    wait_for(lambda: reader.worker_id is None)
    assert reader.image(picture).size == (300, 200)  # nobody noticed


@with_pipes
def test_one_file_at_a_time_and_a_line_of_limited_length(endless, picture) -> None:
    reader = MediaReader(PATIENT, 1000, line=1, patience_s=PATIENT)
    read: list[tuple[int, int]] = []
    threads = [
        threading.Thread(target=lambda path=path: read.append(reader.image(path).size)) for path in (endless, picture)
    ]
    threads[0].start()
    with endless.open("wb") as file:
        threads[1].start()
        wait_for(lambda: reader._places._value == 0)
        assert "try again in a few seconds" in refusal(reader, picture)
        assert read == []
        file.write(encoded(noise(), "PNG"))
    for thread in threads:
        thread.join(60)
    assert read == [(64, 48), (300, 200)]
    reader.close()


@with_pipes
def test_nobody_waits_for_ever(endless, picture) -> None:
    reader = MediaReader(PATIENT, 1000, patience_s=0.1)
    thread = threading.Thread(target=lambda: reader.image(endless))
    thread.start()
    with endless.open("wb") as file:
        assert "try again in a few seconds" in refusal(reader, picture)
        file.write(encoded(noise(), "PNG"))
    thread.join(60)
    assert reader.image(picture).size == (300, 200)
    reader.close()


@on_linux
def test_it_is_small_and_knows_no_secrets(reader, picture, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    reader.image(picture)
    process = Path(f"/proc/{reader.worker_id}")
    assert b"HF_TOKEN" not in (process / "environ").read_bytes()
    assert "libtorch" not in (process / "maps").read_text()
    resident = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS"))
    assert int(resident.split()[1]) < 120_000  # kB


PARENT = """
import sys, types
package = types.ModuleType("vscan_core")
package.__path__ = [sys.argv[1]]
sys.modules["vscan_core"] = package
from vscan_core.media.isolated import MediaReader
reader = MediaReader(float(sys.argv[4]), 1000)
reader.image(sys.argv[2])
print(reader.worker_id, flush=True)
{then}
"""


@on_linux
@pytest.mark.parametrize(
    ("then", "seconds"),
    [
        ("", PATIENT),
        ("raise SystemExit(3)", PATIENT),
        ("reader = None; input()", PATIENT),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", PATIENT),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", PATIENT),
        ("print('reading', flush=True); reader.image(sys.argv[3])", 3.0),
    ],
)
def test_no_process_is_left_behind(endless, picture, then, seconds) -> None:
    package = str(Path(vscan_core.__file__).parent)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(then=then), package, str(picture), str(endless), str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    process = int(parent.stdout.readline())
    if "reading" in then:  # it is in the middle of a file as its parent dies
        with endless.open("wb"):
            parent.kill()
            parent.wait(60)
            wait_for(lambda: not runs(process))
    else:
        wait_for(lambda: not runs(process))
    parent.communicate("\n", 60)


def test_a_process_that_cannot_start_is_one_sentence(picture, monkeypatch, caplog) -> None:
    reader = MediaReader(PATIENT, 1000)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert refusal(reader, picture) == "Files cannot be read at the moment; please try again later."
    assert "does not start" in caplog.text
    monkeypatch.undo()
    assert isinstance(reader.image(picture), Image.Image)
    reader.close()
