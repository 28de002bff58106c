"""Take the README's pictures of the demo: `python docs/screenshot.py [--example 2] [--theme light]`.

Starts the demo on the embedded model, asks one example's question in a real browser, and writes docs/screenshot.png and
docs/slider.webp, in which the retention slider moves over the token map. Needs Chromium: the system's, or the one that
the environment variable CHROMIUM names.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app.__main__ import launch_options  # noqa: E402
from app.main import build_app  # noqa: E402
from app.session.engine import Engine  # noqa: E402
from app.session.session import Session  # noqa: E402

PORT = 7899
RUN_TOOK = "() => document.querySelector('#status').innerText.includes('took')"
PERCENTS = (*range(60, 12, -3), *range(12, 2, -1))  # of the slider, there and back
STEP_MS, REST_MS = 70, 900
FILM_WIDTH = 640  # of the animation


def run_example(page: Page, example: int) -> None:
    """Choose an example and run it twice: the second run shows times of a warm machine."""
    page.wait_for_selector(".stage-layer")
    page.locator("#examples button.thumbnail-item").nth(example).click()
    page.wait_for_timeout(2000)
    for _ in range(2):
        page.click("#run")
        page.wait_for_timeout(500)
        page.wait_for_function(RUN_TOOK)
        page.wait_for_timeout(1500)
    page.mouse.move(700, 5)
    page.wait_for_timeout(500)


def picture_of(shot: bytes) -> Image.Image:
    """A screenshot as a picture."""
    return Image.open(io.BytesIO(shot)).convert("RGB")


def slider_frames(page: Page) -> list[Image.Image]:
    """The stage at every position of the slider, drawn by the browser alone."""
    frames = []
    for percent in PERCENTS:
        page.evaluate("percent => document.querySelector('.stage').stage.drag(percent)", percent)
        page.wait_for_timeout(60)
        shot = picture_of(page.locator(".stage-view").screenshot())
        frames.append(shot.resize((FILM_WIDTH, round(shot.height * FILM_WIDTH / shot.width)), Image.Resampling.LANCZOS))
    return frames


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--example", type=int, default=2, help="place in the example gallery, from 0")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    arguments = parser.parse_args()
    demo = build_app(Session(Engine()))
    demo.launch(**launch_options("127.0.0.1", PORT), prevent_thread_lock=True, quiet=True)
    with sync_playwright() as playwright:
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--headless=new"])
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.goto(f"http://127.0.0.1:{PORT}/?__theme={arguments.theme}")
        run_example(page, arguments.example)
        print(page.input_value("#answer-baseline textarea"), "|", page.input_value("#answer-vscan textarea"))
        shot, frames = picture_of(page.screenshot()), slider_frames(page)
        browser.close()
    demo.close(verbose=False)
    small = shot.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(ROOT / "docs" / "screenshot.png", optimize=True)
    film = [*frames, *frames[-2:0:-1]]
    times = [REST_MS if one in (frames[0], frames[-1]) else STEP_MS for one in film]
    film[0].save(
        ROOT / "docs" / "slider.webp", save_all=True, append_images=film[1:], duration=times, loop=0, quality=60
    )


if __name__ == "__main__":
    main()
