"""Frames out of video files: the right ones, upright; and one sentence for every file that is none."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from PIL import Image

import vscan_core as vc
from tests.video_files import shade, shades, write
from vscan_core.media import videos
from vscan_core.media.videos import Video, open_video


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm", "avi", "mpg", "ts", "gif"])
def test_frames_are_spread_evenly_from_the_first_to_the_last(tmp_path: Path, ending: str) -> None:
    video = open_video(write(tmp_path / f"video.{ending}", shades(31)), 4)
    assert [shade(frame) for frame in video.frames] == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=0.03)
    assert video.times == pytest.approx([0, 1, 2, 3], abs=0.11) and video.size == (96, 64)


@pytest.mark.parametrize(("gop", "wanted"), [(1, 5), (4, 3), (100, 5), (7, 40)])
def test_any_distance_of_key_frames_gives_the_same_frames(tmp_path: Path, gop: int, wanted: int) -> None:
    video = open_video(write(tmp_path / "video.mp4", shades(41), gop=gop), wanted)
    expected = [i / (wanted - 1) for i in range(wanted)]
    assert [shade(frame) for frame in video.frames] == pytest.approx(expected, abs=0.03)


def test_a_short_video_gives_every_frame_once(tmp_path: Path) -> None:
    assert len(open_video(write(tmp_path / "video.mp4", shades(3)), 8).frames) == 3
    assert len(open_video(write(tmp_path / "one.mp4", shades(1)), 8).frames) == 1


def test_large_frames_are_shrunk(tmp_path: Path) -> None:
    video = open_video(write(tmp_path / "video.mp4", shades(2, (2048, 512))), 2)
    assert video.size == (1024, 256)


def test_a_rotation_noted_by_a_phone_is_applied(tmp_path: Path) -> None:
    frame = Image.new("RGB", (96, 64), "black")
    frame.paste("white", (0, 0, 48, 64))  # the left half is light
    path = Path(write(tmp_path / "video.mp4", [frame] * 3))
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the 3 x 3 matrix comes after 40 bytes
    one, minus = (65536).to_bytes(4, "big"), (-65536).to_bytes(4, "big", signed=True)
    nil = bytes(4)
    data[at : at + 36] = b"".join([nil, one, nil, minus, nil, nil, nil, nil, (1 << 30).to_bytes(4, "big")])
    path.write_bytes(data)  # shown turned by a quarter to the right
    video = open_video(path, 1)
    assert video.size == (64, 96)
    top, bottom = video.frames[0].crop((0, 0, 64, 40)), video.frames[0].crop((0, 56, 64, 96))
    assert shade(top) > 0.9 and shade(bottom) < 0.1


def test_what_is_no_video_is_told_in_one_sentence(tmp_path: Path) -> None:
    whole = Path(write(tmp_path / "video.mp4", shades(31))).read_bytes()
    picture = tmp_path / "picture.mp4"
    Image.new("RGB", (64, 64)).save(picture, format="PNG")
    list_ = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/video.mp4\n#EXT-X-ENDLIST\n"
    files = {
        "empty.mp4": (b"", "is empty"),
        "text.mp4": (b"hello" * 50, "not a video"),
        "cut.mp4": (whole[: len(whole) // 3], "damaged"),
        "list.m3u8": (list_.encode(), "not a video"),
        "list.mp4": (list_.encode(), "not a video"),
        "parts.ffconcat": (f"ffconcat version 1.0\nfile '{tmp_path}/video.mp4'\n".encode(), "not a video"),
        "picture.mp4": (picture.read_bytes(), "not a video"),
    }
    for name, (content, message) in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert message in sentence(path), name
    assert "no such video" in sentence(tmp_path / "nowhere.mp4")
    assert "no such video" in sentence(tmp_path)


def sentence(path: Path, frames: int = 4) -> str:
    with pytest.raises(vc.InputError) as refusal:
        open_video(path, frames)
    assert "\n" not in str(refusal.value) and str(refusal.value).endswith(".")
    return str(refusal.value)


def test_sound_without_pictures(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        for start in range(0, 8000, 1024):
            frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            frame.sample_rate, frame.pts = 8000, start
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "sound but no pictures" in sentence(path)


@pytest.mark.parametrize("ending", ["mkv", "webm", "mp4", "avi"])
def test_a_video_without_frames(tmp_path: Path, ending: str) -> None:
    assert "no frames" in sentence(Path(write(tmp_path / f"none.{ending}", [])))


def test_too_long_too_small_too_thin_too_many_too_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = Path(write(tmp_path / "long.mp4", shades(3), fps=1))
    monkeypatch.setattr(videos, "MAX_MINUTES", 1 / 60)
    assert "the limit is" in sentence(long) and "cut out the part" in sentence(long)
    monkeypatch.undo()
    assert "8 x 64 pixels" in sentence(Path(write(tmp_path / "small.mp4", shades(2, (8, 64)))))
    assert "1024 x 16 pixels" in sentence(Path(write(tmp_path / "thin.mp4", shades(2, (1024, 16)))))
    assert "between 1 and 64" in sentence(long, 0) and "between 1 and 64" in sentence(long, 65)
    monkeypatch.setattr(videos, "MAX_SECONDS_READING", -1)
    assert "too long to read" in sentence(long)


def test_frames_that_are_at_hand() -> None:
    video = Video([frame.convert("L") for frame in shades(3)])
    assert video.times == (0, 1, 2) and {frame.mode for frame in video.frames} == {"RGB"}
    with pytest.raises(vc.InputError, match="no frames"):
        Video([])
    with pytest.raises(vc.InputError, match="same width"):
        Video(shades(2) + shades(1, (50, 50)))
    with pytest.raises(vc.InputError, match="times must have one entry"):
        Video(shades(3), [0.0, 1.0])
