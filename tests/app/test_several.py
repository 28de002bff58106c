"""A question about several pictures: one token map for each, both answers, and a sentence where it cannot be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

import vscan_core as vc
from app.session.engine import Engine
from app.session.examples import Example
from app.session.session import Session
from app.session.sources import Album
from app.several.page import NO_PICTURES, SeveralPage
from tests.app.conftest import serving, visiting
from tests.app.video_engine import VideoEngine


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = []
    for number, (colour, size) in enumerate((("red", (90, 60)), ("blue", (60, 60)), ("green", (60, 120)))):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.new("RGB", size, colour).save(paths[-1])
    return paths


@pytest.fixture
def page() -> SeveralPage:
    with gr.Blocks():
        return SeveralPage(Session(VideoEngine()), [])


def ended(page: SeveralPage, *paths: str | None, percent: float = 25.0, method: str = "vscan") -> dict[Any, Any]:
    *_, last = page.on_run("mini", "word5 word6", percent, method, *paths)
    return last


def test_every_picture_has_its_map_and_its_count(page, files) -> None:
    out = ended(page, None, *files)
    tiles = out[page.outputs.gallery]
    assert [caption for _, caption in tiles] == [f"Picture {n}: 14 → 4 of 36 visual tokens" for n in (1, 2, 3)]
    shapes = [Image.open(file).size for file, _ in tiles]
    assert [width / height for width, height in shapes] == pytest.approx([1.5, 1.0, 0.5], abs=0.02)
    assert "108" in out[page.outputs.numbers[0]] and "42 → 12" in out[page.outputs.numbers[1]]
    assert out[page.outputs.status].startswith("The two answers")
    swapped = ended(page, *files[::-1])[page.outputs.gallery]
    assert [Image.open(file).size for file, _ in swapped] == shapes[::-1]


def test_what_cannot_be_asked_is_said(page, files, tmp_path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    for paths, words in (([], NO_PICTURES), ([files[0], str(broken)], "picture"), (["/nowhere.png"], "no longer")):
        assert words in ended(page, *paths)[page.outputs.status]
    assert "retention must be above 0" in ended(page, files[0], percent=0)[page.outputs.status]
    (out,) = page.on_run("mini", "", 25, "vscan", *files)
    assert "question is empty" in out[page.outputs.status]


def test_the_budget_says_how_long_the_prompt_is_or_that_it_is_too_long(page, files) -> None:
    one, three = (page.on_budget("mini", "word5", 11.1, "vscan", *files[:count]) for count in (1, 3))
    assert one.startswith("**11.1 %**") and "tokens" in three and one != three
    assert page.on_budget("mini", "word5", 11.1, "vscan", None, None) == NO_PICTURES


def test_the_embedded_model_has_no_room_for_two(files) -> None:
    with gr.Blocks():
        page = SeveralPage(Session(Engine()), [])
    said = page.on_budget("mini", "Where is it?", 11.1, "vscan", *files[:2])
    assert said.startswith("2 pictures and the question are") and "ask about fewer pictures" in said
    assert said in ended(page, *files[:2])[page.outputs.status]


def test_an_album_is_known_by_its_pictures_in_their_order(files) -> None:
    session = Session(VideoEngine())
    one, other = (session.open(Album(tuple(paths))) for paths in (files[:2], files[1::-1]))
    assert one.digest != other.digest and session.open(Album(tuple(files[:2]))) is one
    assert [picture.size for picture in one.pictures] == [(90, 60), (60, 60)] and one.asked_about == one.pictures
    alone = session.open(files[0])
    assert alone.asked_about is alone.image and alone.pictures == [alone.image]
    with pytest.raises(vc.InputError, match="one picture per question"):
        list(session.ask("mini", one, "word5", None))


def test_in_the_browser(browser, files) -> None:
    examples = [Example(files[0], "What is it?")]
    with serving(VideoEngine(), examples, ["compare", "several"]) as server, visiting(browser) as tab:
        tab.goto(server.url)
        tab.get_by_role("tab", name="Several pictures").click()
        tab.wait_for_function("() => document.querySelector('#several-budget')?.innerText.includes('the prompt has')")
        tab.locator("#several-question textarea").fill("word5 word6")
        tab.locator("#several-picture-3 input[type=file]").set_input_files(files[2])
        tab.wait_for_function("() => document.querySelector('#several-picture-3 img')")
        tab.locator("#several-run").click()
        tab.wait_for_function("() => document.querySelectorAll('#several-gallery .thumbnail-item').length === 2")
        tab.wait_for_function("() => document.querySelector('#several-status').innerText.includes('The two answers')")
        assert "of 36 visual tokens" in tab.locator("#several-gallery").inner_text()
