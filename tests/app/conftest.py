"""Real servers in this process, on free ports, and a browser."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image, ImageDraw

from app.__main__ import launch_options
from app.main import PAGES, build_app
from app.session.engine import Engine
from app.session.examples import Example, load_examples
from app.session.session import Session
from tests.app.fake import FakeEngine
from vscan_core.resources import asset

MINI = asset("mini")
PATIENCE = 60_000  # milliseconds; a busy computer loads the page slowly
BROWSER_FLAGS = ["--no-sandbox", "--headless=new", "--disable-gpu", "--disable-dev-shm-usage"]


@dataclass(frozen=True)
class Server:
    """A running demo; its session can be looked into."""

    url: str
    session: Session


@contextmanager
def launched(demo: gr.Blocks) -> Iterator[str]:
    """The address of a demo while it runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    demo.launch(**launch_options("127.0.0.1", port), prevent_thread_lock=True, quiet=True)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        demo.close(verbose=False)


@contextmanager
def serving(engine: Engine, examples: list[Example], pages: Sequence[str] = PAGES) -> Iterator[Server]:
    session = Session(engine)
    with launched(build_app(session, examples, pages)) as url:
        yield Server(url, session)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "picture.png"
    Image.radial_gradient("L").convert("RGB").resize((200, 150)).save(path)
    return str(path)


@pytest.fixture(scope="session")
def picture_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A drawn picture: a red disc and a blue square on light ground."""
    image = Image.new("RGB", (480, 360), (235, 235, 225))
    pencil = ImageDraw.Draw(image)
    pencil.ellipse((60, 60, 200, 200), fill=(210, 40, 40))
    pencil.rectangle((300, 180, 420, 300), fill=(40, 70, 200))
    path = tmp_path_factory.mktemp("picture") / "drawing.png"
    image.save(path)
    return str(path)


@pytest.fixture(scope="session")
def mini_server(picture_file: str) -> Iterator[Server]:
    """The demo as a visitor meets it, on the embedded model."""
    if not (MINI / "config.json").is_file():
        pytest.skip("the embedded model is not in assets/mini")
    with serving(Engine(), load_examples() or [Example(picture_file, "What is there?")]) as server:
        yield server


@pytest.fixture
def slow_server(picture_file: str) -> Iterator[Server]:
    """The demo on a fake engine that writes for a minute unless it is stopped."""
    engine = FakeEngine(pause_s=0.05, answer_words=("word",) * 600)
    with serving(engine, [Example(picture_file, "What is there?")]) as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """The system's Chromium, or the one that $CHROMIUM names."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found or not Path(found).exists():
        message = "no Chromium found: install it, or name it in the environment variable CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=BROWSER_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def hall(browser: object, picture_file: str) -> Iterator[object]:
    """A page with nothing but a stage."""
    from tests.app.hall import opened_hall

    yield from opened_hall(browser, picture_file)


@contextmanager
def visiting(browser: Any, width: int = 1400, height: int = 1000, **options: Any) -> Iterator[Any]:
    """The page of a fresh visitor; every error on it fails the test."""
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if "Content Security" in line.text else None)
    yield page
    context.close()
    assert not errors


def answer_unasked(browser: Any, server: Server) -> None:
    """The first visit, whose answers the page asks for by itself: no later visit's measurement waits for them."""
    with visiting(browser) as page:
        page.goto(server.url)
        page.wait_for_function("() => document.querySelector('#answer-vscan textarea')?.value")
