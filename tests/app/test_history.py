"""Earlier runs of a visitor: listed with what was asked and answered, one click from being asked again, and private."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.session.examples import Example
from app.ui.history import EarlierRun, caption_of
from tests.app.conftest import serving
from tests.app.fake import FakeEngine

EVIL = "<img src=x onerror=alert(1)>?"
ENDED = "() => document.querySelector('#earlier')?.innerText.includes('Earlier runs (%d)')"


def test_the_caption_has_the_question_and_the_answer() -> None:
    assert caption_of(EarlierRun("arena", {"question": "Why?"}, "VScan: because")) == "Why? · VScan: because"


def test_an_earlier_run_comes_back_and_is_seen_by_nobody_else(browser: Any, tmp_path: Path) -> None:
    pytest.importorskip("playwright.sync_api")
    Image.new("RGB", (120, 90), "teal").save(tmp_path / "teal.png")
    with serving(FakeEngine(answer_words=("yes",)), [Example(str(tmp_path / "teal.png"), "Is it teal?")]) as server:
        mine, other = (browser.new_context(viewport={"width": 1400, "height": 1000}).new_page() for _ in range(2))
        for page in (mine, other):
            page.on("dialog", lambda dialog: pytest.fail("a script of the visitor's has run"))
            page.goto(server.url + "?tab=arena")
            page.wait_for_selector("#arena-gallery img")
        mine.click("#arena-run")
        mine.wait_for_function(ENDED % 1)
        mine.fill("#arena-question textarea", EVIL)
        mine.locator("#arena-methods").get_by_label("Coarse").check()
        mine.click("#arena-run")
        mine.wait_for_function(ENDED % 2)
        mine.click("#earlier button")
        names = mine.locator("#earlier-runs .thumbnail-item")
        names.nth(1).wait_for()
        assert EVIL in mine.inner_text("#earlier") and "yes" in mine.inner_text("#earlier")
        mine.get_by_role("tab", name="Compare").click()
        names.nth(1).click()
        mine.wait_for_function("() => document.querySelector('#arena-question textarea')?.value === 'Is it teal?'")
        mine.wait_for_function("() => document.querySelector('[role=tab][aria-selected=true]')?.innerText === 'Arena'")
        assert not mine.locator("#arena-methods").get_by_label("Coarse").is_checked()
        assert other.locator("#earlier").count() == 0
        for page in (mine, other):
            page.context.close()
