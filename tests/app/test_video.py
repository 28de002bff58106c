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
from app.ui.token_map import HEAT, PICTURE, TOKENS, describe_token, draw_view
from tests.app.conftest import Server, serving
from tests.app.test_browser import OVERLAY, open_page
from tests.app.test_browser import page as page  # a fixture
from tests.app.video_engine import VideoEngine
from tests.video_files import shades, write

VIEW = ("Tokens", "global", 1)
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


def run(compare: ComparePage, model: str, picture: str | None, video: str | None) -> dict[Any, Any]:
    return list(compare.on_run(model, picture, "word4 ?", 30, *VIEW, video))[-1]


def test_the_question_is_about_the_video_if_the_model_takes_it(
    compare: ComparePage, picture: str, video_file: str
) -> None:
    view = run(compare, "video-llava", picture, video_file)[compare.tokens.state]
    assert view.source == Clip(video_file, 8) and view.trace.frames == 8
    for model, video in (("mini", video_file), ("video-llava", None)):
        view = run(compare, model, picture, video)[compare.tokens.state]
        assert view.source == picture and not view.trace.frames


def test_the_preview_and_the_run_show_the_frames(compare: ComparePage, picture: str, video_file: str) -> None:
    out = compare.on_picture("video-llava", picture, 30, *VIEW, video_file)
    assert out[compare.tokens.image]["alt_text"].startswith("The video with")
    assert "of 296" in out[compare.inputs.budget].replace("**", "")  # 8 frames of 36 tokens and CLS
    view = run(compare, "video-llava", picture, video_file)[compare.tokens.state]
    assert "same number for every frame" in draw_view(compare.session.open(view.source), view, TOKENS, None, None).note
    looks = [
        draw_view(compare.session.open(view.source), view, mode, "global", 1).picture
        for mode in (TOKENS, HEAT, PICTURE)
    ]
    assert len({drawing.tobytes() for drawing in looks}) == 3 and {drawing.size[0] for drawing in looks} == {1008}
    assert view.trace.cuts[0].kept.tolist() == out[compare.tokens.state].trace.kept.tolist()


def test_a_click_names_the_frame(compare: ComparePage, picture: str, video_file: str) -> None:
    view = run(compare, "video-llava", picture, video_file)[compare.tokens.state]
    width = 1008 // 3  # three frames in a row
    for x, y, frame in ((width // 2, 100, 1), (width + width // 2, 100, 2), (width // 2, 400, 4)):
        assert describe_token(compare.session.open(view.source), view, None, x, y).startswith(f"Frame {frame}, row")


@pytest.mark.parametrize(("content", "sentence"), [(b"", "is empty"), (b"hello", "not a video"), (None, "no longer")])
def test_bad_videos_are_told_in_one_sentence(
    compare: ComparePage, tmp_path: Path, picture: str, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / "video.mp4"
    if content is not None:
        path.write_bytes(content)
    assert sentence in compare.on_picture("video-llava", picture, 30, *VIEW, str(path))[compare.outputs.status]
    assert sentence in run(compare, "video-llava", picture, str(path))[compare.outputs.status]
    assert run(compare, "video-llava", picture, None)[compare.outputs.numbers[1]]


@pytest.fixture
def video_server(picture: str) -> Iterator[Server]:
    with serving(VideoEngine(), [Example(picture, "word4 ?")]) as server:
        yield server


def test_a_visitor_asks_about_a_video(page: Any, video_server: Server, video_file: str, tmp_path: Path) -> None:
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
    page.wait_for_function(f"() => document.querySelector('{OVERLAY}')?.alt.startsWith('The video')")
    page.click("#run")
    page.wait_for_selector("#time-chart .js-plotly-plot .bars path", state="attached")
    assert "Dropped at layer" in page.inner_text("#legend") and "296" in page.inner_text("#numbers-baseline")
    assert page.locator("#video button[aria-label^='Trim']").is_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400
