"""One visit: open the page, choose a picture, move the slider a few times, ask, read both answers, leave."""

from __future__ import annotations

import asyncio
import io
import random
import re
import secrets
import sys
import time
from dataclasses import dataclass, field

import httpx
from PIL import Image, ImageDraw

from .headless_page import EventEnd, HeadlessPage

# how the last status of a run begins; an answer may be without a word
ENDED = ("The two answers took", "The answer with fewer visual tokens took")
TOKENS_COUNTED = re.compile(r"\d+ of \d+")  # what the page says under the slider once it has counted the tokens
VISITORS_QUESTIONS = ("What is there?", "Is there a red ball?", "What colour is it?", "How many things are there?")
SHAPES_PER_PICTURE = 5


@dataclass
class VisitNotes:
    """What happened to visitors. Times are in seconds; `problems` are sentences."""

    requests: int = 0
    asked: int = 0  # runs that were started
    answered: int = 0  # of those: both answers came, as the last status says
    previews: int = 0
    previews_refused: int = 0
    wait_s: list[float] = field(default_factory=list)  # from Run to the first word of an answer
    answer_s: list[float] = field(default_factory=list)  # from Run to the end
    preview_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, ends: list[EventEnd]) -> None:
        """Note events that ended."""
        self.requests += len(ends)
        self.problems += [f"{end.event}: {end.sentence}" for end in ends if not end.ok]


def drawn_picture(number: int) -> bytes:
    """A PNG of a few coloured shapes; the same number gives the same bytes."""
    choose = random.Random(number)
    image = Image.new("RGB", (320, 240), (235, 235, 225))
    pencil = ImageDraw.Draw(image)
    for _ in range(SHAPES_PER_PICTURE):
        left, top, side = choose.randrange(250), choose.randrange(170), choose.randrange(20, 70)
        colour = (choose.randrange(256), choose.randrange(256), choose.randrange(256))
        draw = choose.choice([pencil.ellipse, pencil.rectangle])
        draw((left, top, left + side, top + side), fill=colour)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def loopback_address(number: int) -> str | None:
    """An address of this computer for each visitor, so that limits per address see different ones; None: the usual."""
    return f"127.0.{1 + number // 250}.{1 + number % 250}" if sys.platform == "linux" else None


async def visit(
    url: str, number: int, notes: VisitNotes, chance: random.Random, previews: int, pause_s: float, pictures: int
) -> None:
    """Make one visit as visitor `number`, who has that many pictures; waits about `pause_s` before every action."""
    page = HeadlessPage(url, loopback_address(number))
    try:
        await page.open()
        notes.add(await page.happen(None, "load"))
        picture = 1000 * number + chance.randrange(pictures)
        uploaded = await page.upload(f"picture-{picture}.png", drawn_picture(picture))
        await _preview(page, notes, "picture", uploaded)
        for _ in range(previews):
            await asyncio.sleep(chance.uniform(0.5, 1.5) * pause_s)
            await _preview(page, notes, "retention", round(chance.uniform(3, 60), 1))
        notes.add(await page.change("question", chance.choice(VISITORS_QUESTIONS)))
        await asyncio.sleep(chance.uniform(0.5, 1.5) * pause_s)
        await _ask(page, notes)
    except httpx.HTTPError as error:
        notes.problems.append(f"visit: {type(error).__name__}: {error}"[:200])
    finally:
        await page.close()


async def _preview(page: HeadlessPage, notes: VisitNotes, widget: str, value: object) -> None:
    start = time.perf_counter()
    page.values[page.ids["budget"]] = ""
    ends = await page.change(widget, value)
    notes.previews += 1
    notes.preview_s.append(time.perf_counter() - start)
    notes.add(ends)
    if not all(end.ok for end in ends) or not TOKENS_COUNTED.search(str(page.value("budget"))):
        notes.previews_refused += 1
        notes.problems.append(f"preview: {page.value('budget') or page.value('status')}"[:200])


async def _ask(page: HeadlessPage, notes: VisitNotes) -> None:
    start, first = time.perf_counter(), []
    answers = ("answer-baseline", "answer-vscan")
    for name in answers:
        page.values[page.ids[name]] = ""

    def seen() -> None:
        if not first and any(page.value(name) for name in answers):
            first.append(time.perf_counter() - start)

    (run,) = (each for each in page.events if each["api_name"] and _is_run(page, each))
    page.values[run["inputs"][-1]] = secrets.token_hex(8)  # the page's script makes this id
    notes.asked += 1
    ends = await page.happen("run", "click", seen)
    notes.add(ends)
    if str(page.value("status")).startswith(ENDED):
        notes.answered += 1
        notes.answer_s.append(time.perf_counter() - start)
        notes.wait_s.append(first[0] if first else notes.answer_s[-1])
    else:
        notes.problems.append(f"run: {page.value('status')}"[:200])


def _is_run(page: HeadlessPage, event: dict[str, list[object]]) -> bool:
    return bool(event["backend_fn"]) and [page.ids["run"], "click"] in [list(target) for target in event["targets"]]
