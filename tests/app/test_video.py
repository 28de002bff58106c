"""Videos in the demo: which models take them, what is asked about, the strip of frames, and bad files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from app.compare.page import ComparePage
from app.session.examples import Example
from app.session.session import Session
from app.session.sources import Clip
from tests.app.conftest import Server, serving
from tests.app.hall import drawn
from tests.app.test_browser import open_page
from tests.app.test_browser import page as page  # a fixture
from tests.app.video_engine import VideoEngine
from tests.video_files import shades, write

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def video_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("video") / "video.mp4", shades(20, (128, 96)))


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    Image.radial_gradient("L").convert("RGB").save(path)
    return str(path)


@pytest.fixture(scope="module")
def compare() -> ComparePage:
    with gr.Blocks():
        return ComparePage(Session(VideoEngine()), [])


def asked(model: str, picture: str | None, video: str | None) -> list[Any]:
    """The values of the page's widgets, in the order of the handlers' arguments."""
    return [model, picture, video, "word4 ?", 30, "vscan"]


def run(compare: ComparePage, model: str, picture: str | None, video: str | None) -> dict[Any, Any]:
    return list(compare.runs.on_run(*asked(model, picture, video)))[-1]


def test_the_question_is_about_the_video_if_the_model_takes_it(
    compare: ComparePage, picture: str, video_file: str
) -> None:
    last = run(compare, "video-llava", picture, video_file)
    assert last[compare.shown].settings.source == Clip(video_file, 8)
    assert drawn(last[compare.tokens.stage])["frames"] == [[frame] for frame in range(1, 9)]
    for model, video in (("mini", video_file), ("video-llava", None)):
        last = run(compare, model, picture, video)
        assert last[compare.shown].settings.source == picture and drawn(last[compare.tokens.stage])["frames"] == []


def test_the_preview_and_the_run_show_the_frames(compare: ComparePage, picture: str, video_file: str) -> None:
    out = compare.on_picture(*asked("video-llava", picture, video_file), None)
    assert "of 296" in out[compare.how.budget].replace("**", "")  # 8 frames of 36 tokens and CLS
    last = run(compare, "video-llava", picture, video_file)
    assert "same number for every frame" in last[compare.tokens.note]
    preview, ran = drawn(out[compare.tokens.stage]), drawn(last[compare.tokens.stage])
    assert preview["cuts"] == ran["cuts"][:1] and preview["boxes"] == ran["boxes"] and len(ran["cells"]) == 8
    assert ran["size"][0] == 1008 and ran["cells"][3][0] == 0  # three frames in a row


@pytest.mark.parametrize(("content", "sentence"), [(b"", "is empty"), (b"hello", "not a video"), (None, "no longer")])
def test_bad_videos_are_told_in_one_sentence(
    compare: ComparePage, tmp_path: Path, picture: str, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / "video.mp4"
    if content is not None:
        path.write_bytes(content)
    assert sentence in compare.on_picture(*asked("video-llava", picture, str(path)), None)[compare.ask.status]
    assert sentence in run(compare, "video-llava", picture, str(path))[compare.ask.status]
    assert run(compare, "video-llava", picture, None)[compare.outputs.numbers[1]]


@pytest.fixture
def video_server(picture: str) -> Iterator[Server]:
    with serving(VideoEngine(), [Example(picture, "word4 ?")]) as server:
        yield server


def test_a_visitor_asks_about_a_video(video_server: Server, page: Any, video_file: str, tmp_path: Path) -> None:
    open_page(page, video_server)
    page.get_by_role("button", name="Ask about a video").click()
    page.wait_for_function("() => document.querySelector('#video-note')?.innerText.includes('takes pictures only')")
    assert "Tiny Video-LLaVA" in page.inner_text("#video-note") and page.locator("#video").count() == 0

    page.click("#model input")
    page.get_by_role("option", name="Tiny Video-LLaVA").click()
    page.wait_for_selector("#video input[type=file]", state="attached")
    assert "8 frames" in page.inner_text("#video-note")
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all")
    page.set_input_files("#video input[type=file]", str(bad))
    page.wait_for_function("() => document.querySelector('#status')?.innerText.includes('not a video')")
    page.click("#video button[aria-label=Clear]")
    page.wait_for_selector("#video input[type=file]", state="attached")

    page.set_input_files("#video input[type=file]", video_file)
    page.wait_for_function("() => document.querySelector('.stage-view img')?.alt.startsWith('The video')")
    page.click("#run")
    page.wait_for_function("() => document.querySelector('.stage-legend')?.innerText.includes('Dropped at layer')")
    assert page.locator(".stage-stops b").all_inner_texts()[0] == "296"
    assert page.locator("#video button[aria-label^='Trim']").is_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400
