"""Gather the logs of a training into one small file and draw the learning curve: python -m training.curve.

Writes assets/mini/training_log.json and assets/mini/learning_curve.png.
"""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from training.stage import RUNS
from training.train import STAGES

FOLDER = Path("assets/mini")
INK = ("#c0392b", "#2563c9", "#2a8f4c", "#8e44ad", "#d9822b", "#16808f", "#7a5230", "#555555", "#b03a7a", "#8a8f1a")
LINES = {
    "language": ("exist", "which", "colour", "what_at", "where", "count", "beside", "sign"),
    "vision": ("patch", "object", "colour", "sign", "place", "centre", "covered"),
    "projector": ("exist", "which", "colour", "what_at", "where", "count"),
    "joint": ("exist", "which", "colour", "what_at", "where", "count", "beside", "sign", "describe"),
}
WIDE, HIGH, EDGE = 460, 300, 40


def gather() -> list[dict]:
    """All log lines of all stages, in order of the stages."""
    found = []
    for stage in STAGES:
        path = RUNS / stage / "log.jsonl"
        if path.exists():
            found += in_one_time([json.loads(line) for line in path.read_text().splitlines()])
    return found


def in_one_time(lines: list[dict]) -> list[dict]:
    """Clocks of several sittings put one behind the other; what a resumed run did again counts once.

    A clock that starts anew is another sitting; one that goes back a little is a run resumed at its checkpoint.
    """
    found: list[dict] = []
    before = 0
    for line in lines:
        reached = found[-1]["seconds"] - before if found else 0
        if line["seconds"] < reached / 2:
            before += reached
        now = line | {"seconds": line["seconds"] + before}
        found = [one for one in found if one["seconds"] <= now["seconds"]]
        found.append(now)
    return found


def panel(pen: ImageDraw.ImageDraw, corner: tuple[int, int], stage: str, lines: list[dict]) -> None:
    """One stage: accuracy 0..1 over minutes, one line per kind."""
    left, top = corner[0] + EDGE, corner[1] + EDGE
    width, height = WIDE - EDGE - 100, HIGH - 2 * EDGE
    font = ImageFont.load_default(12)
    measured = [line for line in lines if line["stage"] == stage and LINES[stage][0] in line]
    if not measured:
        return
    longest = max(line["seconds"] for line in measured) / 60
    pen.text((left, corner[1] + 14), f"{stage}, {longest:.0f} minutes", fill="black", font=ImageFont.load_default(14))
    for tick in (0, 0.5, 1):
        y = top + height * (1 - tick)
        pen.line((left, y, left + width, y), fill="#dddddd")
        pen.text((left - 26, y - 7), f"{tick:.1f}", fill="#555555", font=font)
    for index, name in enumerate(LINES[stage]):
        points = [
            (left + width * line["seconds"] / 60 / longest, top + height * (1 - line[name]))
            for line in measured
            if name in line
        ]
        pen.line(points, fill=INK[index], width=2)
        pen.text((left + width + 8, top + 16 * index), name, fill=INK[index], font=font)


def main() -> None:
    """Write log and picture."""
    lines = gather()
    text = ",\n".join(json.dumps(line) for line in lines)
    (FOLDER / "training_log.json").write_text(f"[\n{text}\n]\n")
    picture = Image.new("RGB", (2 * WIDE, 2 * HIGH), "white")
    pen = ImageDraw.Draw(picture)
    for index, stage in enumerate(STAGES):
        panel(pen, (index % 2 * WIDE, index // 2 * HIGH), stage, lines)
    picture.save(FOLDER / "learning_curve.png", optimize=True)


if __name__ == "__main__":
    main()
