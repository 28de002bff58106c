"""The PNG export: picture, question, table and small pictures on one page, drawn with Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageOps

from . import table
from .export_json import NOTE
from .fonts import font, printable, wrapped
from .progress import Entry, Round

WIDTH, EDGE = 1760, 48
INNER = WIDTH - 2 * EDGE
INK, QUIET, RULE, PAPER = (28, 31, 38), (105, 112, 124), (218, 222, 228), (255, 255, 255)
GOOD, BAD = (0, 128, 94), (190, 78, 0)
# heading, place in the row of the page's table, width in pixels
COLUMNS = (
    ("Method", 0, 190), ("Answer", 1, 430), ("Agrees", 2, 100), ("Visual tokens", 3, 252), ("Average", 4, 94),
    ("Reading", 5, 112), ("First word", 6, 116), ("Choosing", 7, 110), ("KV cache", 8, 106), ("FLOPs", 9, 154),
)  # fmt: skip
NUMBERS = 3  # from this column on, text is set right
ACROSS, GAP = 4, 20


Columns = Sequence[tuple[str, int, int]]


@dataclass(frozen=True)
class Head:
    """What stands beside the picture."""

    name: str  # of the page
    question: str
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Cells:
    """Which cells a row has, and which of them are drawn."""

    row: Callable[[Entry, str | None], list[table.Cell]]
    columns: Columns


ARENA = Cells(table.row, COLUMNS)


def poster(head: Head, now: Round, picture: Image.Image, noise: str | None = None, cells: Cells = ARENA) -> bytes:
    """The page as a PNG file; `picture` is the one that was asked about."""
    parts = [_head(head, now, picture), _table(now, noise, cells), _pictures(now, noise is None), _foot()]
    parts = [part for part in parts if part.height]
    page = Image.new("RGB", (WIDTH, sum(part.height for part in parts) + 2 * EDGE), PAPER)
    top = EDGE
    for part in parts:
        page.paste(part, (EDGE, top))
        top += part.height
    file = io.BytesIO()
    page.save(file, "PNG")
    return file.getvalue()


def _head(head: Head, now: Round, picture: Image.Image) -> Image.Image:
    """The picture, and beside it what was asked."""
    small = picture.copy()
    small.thumbnail((460, 380))
    left = small.width + 36
    asked = wrapped(head.question, font(27), INNER - left, 4)
    facts = (*head.facts, now.status, NOTE, now.hint or "")
    notes = [line for fact in facts if fact for line in wrapped(fact, font(20), INNER - left, 2)]
    below = 76 + 37 * len(asked)
    part = Image.new("RGB", (INNER, max(small.height, below + 29 * len(notes)) + 36), PAPER)
    part.paste(small, (0, 0))
    pen = ImageDraw.Draw(part)
    pen.text((left, -6), head.name, INK, font(40, True))
    for number, line in enumerate(asked):
        pen.text((left, 62 + 37 * number), line, INK, font(27))
    for number, line in enumerate(notes):
        pen.text((left, below + 29 * number), line, QUIET, font(20))
    return part


def _table(now: Round, noise: str | None, of: Cells) -> Image.Image:
    """The answers and their numbers."""
    columns = of.columns
    rows = [[shown for _, shown in of.row(entry, noise)] for entry in now.entries]
    answers = [wrapped(cells[1], font(20), columns[1][2] - 24, 4) for cells in rows]
    heights = [18 + 27 * len(lines) for lines in answers]
    part = Image.new("RGB", (INNER, 46 + sum(heights) + 36), PAPER)
    pen = ImageDraw.Draw(part)
    _line(pen, 8, [name for name, _, _ in columns], columns, QUIET)
    top = 46
    for cells, lines, height in zip(rows, answers, heights, strict=True):
        pen.line([(0, top), (INNER, top)], RULE, 1)
        _line(pen, top + 9, ["" if place == 1 else cells[place] for _, place, _ in columns], columns, INK)
        for number, text in enumerate(lines):
            pen.text((columns[0][2], top + 9 + 27 * number), text, INK, font(20))
        top += height
    return part


def _line(pen: ImageDraw.ImageDraw, top: int, cells: list[str], columns: Columns, ink: tuple[int, int, int]) -> None:
    """One row of cells; the first is bold but in the heading, agreement is coloured as well as written."""
    left = 0
    for place, (text, (_, _, width)) in enumerate(zip(cells, columns, strict=True)):
        face = font(20, ink == INK and place == 0)
        text = printable(text, face)
        colour = GOOD if text == "= yes" else BAD if text.endswith(" no") and place == 2 else ink
        x = left + width - face.getlength(text) if place >= NUMBERS else left
        pen.text((x, top), text, colour, face)
        left += width


def _pictures(now: Round, readable: bool) -> Image.Image:
    """Small multiples, four in a row."""
    shown = [entry for entry in now.entries if entry.picture]
    if not shown:
        return Image.new("RGB", (INNER, 0), PAPER)
    side = (INNER - GAP * (ACROSS - 1)) // ACROSS
    small = [_small(str(entry.picture), side) for entry in shown]
    tallest = max(image.height for image in small)
    step = tallest + 88
    part = Image.new("RGB", (INNER, step * -(-len(small) // ACROSS)), PAPER)
    pen = ImageDraw.Draw(part)
    for place, (entry, image) in enumerate(zip(shown, small, strict=True)):
        row, column = divmod(place, ACROSS)
        left, top = column * (side + GAP), row * step
        part.paste(image, (left, top + tallest - image.height))
        _caption(pen, entry, (left, top + tallest + 8), readable)
    return part


def _small(file: str, side: int) -> Image.Image:
    with Image.open(file) as image:
        return ImageOps.contain(image.convert("RGB"), (side, side))


def _caption(pen: ImageDraw.ImageDraw, entry: Entry, corner: tuple[int, int], readable: bool) -> None:
    name, _, rest = table.caption(entry, readable).partition(" · ")
    x, y = corner
    pen.text((x, y), printable(name, font(20, True)), INK, font(20, True))
    pen.text((x, y + 27), printable(rest, font(18)), QUIET, font(18))


def _foot() -> Image.Image:
    """What the colours mean."""
    part = Image.new("RGB", (INNER, 30), PAPER)
    text = (
        "Bright: kept (orange frame: global, blue ring: local). Dot: merged. Dark: dropped before the language model. "
        "Hatched: dropped inside it."
    )
    ImageDraw.Draw(part).text((0, 4), text, QUIET, font(18))
    return part
