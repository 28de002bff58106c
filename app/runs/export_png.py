"""The PNG export: picture, question, table and the pictures of all runs on one page, drawn with Pillow."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageOps

from .export_json import SINGLE_RUN
from .fonts import font, printable, wrapped
from .progress import RunsSnapshot, RunState
from .table import REPLACED_LEGEND, TOKEN_LEGEND, VISION_NOTE, Column, ColumnKind, caption

PAGE_WIDTH, MARGIN = 1760, 48
INNER = PAGE_WIDTH - 2 * MARGIN
RGB = tuple[int, int, int]
TEXT, FAINT, RULE, WHITE = (28, 31, 38), (105, 112, 124), (218, 222, 228), (255, 255, 255)
AGREES, DIFFERS = (0, 128, 94), (190, 78, 0)
PICTURES_PER_ROW, PICTURE_GAP = 4, 20


@dataclass(frozen=True)
class PageHead:
    """What stands beside the picture."""

    title: str
    question: str
    facts: tuple[str, ...]


def page_as_png(head: PageHead, now: RunsSnapshot, picture: Image.Image, columns: Sequence[Column]) -> bytes:
    """The content of the PNG file, with those `columns` that have a PNG width; `picture` was asked about."""
    drawn = [column for column in columns if column.png_width]
    bands = [_head(head, now, picture), _table(now, drawn), _pictures(now), _foot()]
    page = Image.new("RGB", (PAGE_WIDTH, sum(band.height for band in bands) + 2 * MARGIN), WHITE)
    top = MARGIN
    for band in bands:
        page.paste(band, (MARGIN, top))
        top += band.height
    file = io.BytesIO()
    page.save(file, "PNG")
    return file.getvalue()


def _head(head: PageHead, now: RunsSnapshot, picture: Image.Image) -> Image.Image:
    small = picture.copy()
    small.thumbnail((460, 380))
    left = small.width + 36
    question = wrapped(head.question, font(27), INNER - left, 4)
    facts = (*head.facts, now.status, "" if now.served else VISION_NOTE, SINGLE_RUN, *now.notes.split("\n\n"))
    notes = [line for fact in facts if fact for line in wrapped(fact, font(20), INNER - left, 3)]
    below = 76 + 37 * len(question)
    band = Image.new("RGB", (INNER, max(small.height, below + 29 * len(notes)) + 36), WHITE)
    band.paste(small, (0, 0))
    pen = ImageDraw.Draw(band)
    pen.text((left, -6), head.title, TEXT, font(40, True))
    for number, line in enumerate(question):
        pen.text((left, 62 + 37 * number), line, TEXT, font(27))
    for number, line in enumerate(notes):
        pen.text((left, below + 29 * number), line, FAINT, font(20))
    return band


def _table(now: RunsSnapshot, columns: Sequence[Column]) -> Image.Image:
    """One row per run, as high as its answer is long."""
    rows = [[_lines(column, run, place == 0) for place, column in enumerate(columns)] for run in now.runs]
    heights = [18 + 27 * max(map(len, row)) for row in rows]
    band = Image.new("RGB", (INNER, 46 + sum(heights) + 36), WHITE)
    pen = ImageDraw.Draw(band)
    _row(pen, 8, [[column.png_title or column.title] for column in columns], columns)
    top = 46
    for run, row, height in zip(now.runs, rows, heights, strict=True):
        pen.line([(0, top), (INNER, top)], RULE, 1)
        _row(pen, top + 9, row, columns, run)
        top += height
    return band


def _lines(column: Column, run: RunState, first: bool) -> list[str]:
    """The text of a cell; only answers and names of runs have several lines."""
    text = column.shown(run)
    several = first or column.kind is ColumnKind.ANSWER
    return wrapped(text, font(20, first), column.png_width - 24, 4) if several else [text]


def _row(
    pen: ImageDraw.ImageDraw, top: int, cells: list[list[str]], columns: Sequence[Column], run: RunState | None = None
) -> None:
    """One row of cells, or the headings if there is no run; numbers are set right, the name of a run is bold."""
    left = 0
    for place, (lines, column) in enumerate(zip(cells, columns, strict=True)):
        face = font(20, run is not None and place == 0)
        for number, line in enumerate(lines):
            text = printable(line, face)
            flush_right = column.kind is ColumnKind.NUMBER and place > 0
            x = left + column.png_width - face.getlength(text) if flush_right else left
            pen.text((x, top + 27 * number), text, _ink(column, run), face)
        left += column.png_width


def _ink(column: Column, run: RunState | None) -> RGB:
    """Agreement is coloured as well as written."""
    if run is None:
        return FAINT
    if column.kind is ColumnKind.AGREEMENT and run.agrees is not None:
        return AGREES if run.agrees else DIFFERS
    return TEXT


def _pictures(now: RunsSnapshot) -> Image.Image:
    shown = [run for run in now.runs if run.picture]
    if not shown:
        return Image.new("RGB", (INNER, 0), WHITE)
    side = (INNER - PICTURE_GAP * (PICTURES_PER_ROW - 1)) // PICTURES_PER_ROW
    small = [_small(str(run.picture), side) for run in shown]
    tallest = max(image.height for image in small)
    step = tallest + 88
    band = Image.new("RGB", (INNER, step * -(-len(small) // PICTURES_PER_ROW)), WHITE)
    pen = ImageDraw.Draw(band)
    for place, (run, image) in enumerate(zip(shown, small, strict=True)):
        row, column = divmod(place, PICTURES_PER_ROW)
        left, top = column * (side + PICTURE_GAP), row * step
        band.paste(image, (left, top + tallest - image.height))
        _caption(pen, run, (left, top + tallest + 8))
    return band


def _small(file: str, side: int) -> Image.Image:
    with Image.open(file) as image:
        return ImageOps.contain(image.convert("RGB"), (side, side))


def _caption(pen: ImageDraw.ImageDraw, run: RunState, corner: tuple[int, int]) -> None:
    name, _, rest = caption(run).partition(" · ")
    x, y = corner
    pen.text((x, y), printable(name, font(20, True)), TEXT, font(20, True))
    pen.text((x, y + 27), printable(rest, font(18)), FAINT, font(18))


def _foot() -> Image.Image:
    """What the marks mean."""
    band = Image.new("RGB", (INNER, 56), WHITE)
    ImageDraw.Draw(band).multiline_text((0, 4), f"{TOKEN_LEGEND}\n{REPLACED_LEGEND}", FAINT, font(18))
    return band
