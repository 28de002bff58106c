"""Text in the PNG export: a typeface that this computer has, and lines that fit."""

from __future__ import annotations

import functools
import unicodedata
from typing import TypeAlias

from PIL import ImageFont

from ..formatting import TIMES

FACES = {
    False: ("IBMPlexSans-Regular.ttf", "DejaVuSans.ttf", "LiberationSans-Regular.ttf", "Arial.ttf", "segoeui.ttf"),
    True: ("IBMPlexSans-Bold.ttf", "DejaVuSans-Bold.ttf", "LiberationSans-Bold.ttf", "Arial_Bold.ttf", "segoeuib.ttf"),
}
SPELLED = {"→": "->", TIMES: "x", "≠": "not", "…": "...", "·": "-", "\N{EN DASH}": "-"}  # for Pillow's own typeface

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


@functools.cache
def font(size: int, bold: bool = False) -> Font:
    """The first typeface that is installed, or else Pillow's own, which has little more than ASCII."""
    for name in FACES[bold]:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def printable(text: str, face: Font) -> str:
    """One line of text without control characters, spelled out where Pillow's own typeface lacks a sign."""
    text = " ".join("".join(sign if sign.isprintable() or sign.isspace() else " " for sign in text).split())
    if isinstance(face, ImageFont.FreeTypeFont) and face.getname()[0] != "Aileron":
        return text
    text = "".join(SPELLED.get(sign, sign) for sign in text)
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def wrapped(text: str, face: Font, width: float, max_lines: int) -> list[str]:
    """At most `max_lines` lines that fit into `width` pixels; words that do not fit are broken."""
    lines: list[str] = []
    line = ""
    for word in printable(text, face).split(" "):
        while word:
            longer = f"{line} {word}".strip()
            if face.getlength(longer) <= width:
                line, word = longer, ""
            elif line:
                lines.append(line)
                line = ""
            else:
                fits = max(sum(face.getlength(word[:end]) <= width for end in range(1, len(word) + 1)), 1)
                lines.append(word[:fits])
                word = word[fits:]
            if len(lines) > max_lines:
                break
    lines.append(line)
    lines = [each for each in lines if each] or [""]
    if len(lines) <= max_lines:
        return lines
    last = lines[max_lines - 1]
    while last and face.getlength(f"{last} ...") > width:
        last = last[:-1]
    return [*lines[: max_lines - 1], f"{last} ..."]
