"""Gather the logs of four stages into one small file and draw the learning curve: python -m training.learning_curve.

The text half, which came later, has a log of its own in its folder.

Writes assets/mini/training_log.json and assets/mini/learning_curve.png.
"""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from training.stage import RUNS_FOLDER

MODEL_FOLDER = Path("assets/mini")
LINE_COLOURS = (
    "#c0392b",
    "#2563c9",
    "#2a8f4c",
    "#8e44ad",
    "#d9822b",
    "#16808f",
    "#7a5230",
    "#555555",
    "#b03a7a",
    "#8a8f1a",
)
SCORES_SHOWN = {
    "language": ("exist", "which", "colour", "what_at", "where", "count", "beside", "sign"),
    "vision": ("patch", "object", "colour", "sign", "place", "centre", "covered"),
    "projector": ("exist", "which", "colour", "what_at", "where", "count"),
    "joint": ("exist", "which", "colour", "what_at", "where", "count", "beside", "sign", "describe"),
}
WIDE, HIGH, PANEL_MARGIN = 460, 300, 40


def gather() -> list[dict]:
    """All log lines of the stages of the model itself, in their order."""
    found = []
    for stage in SCORES_SHOWN:
        path = RUNS_FOLDER / stage / "log.jsonl"
        if path.exists():
            found += continuous_clock([json.loads(line) for line in path.read_text().splitlines()])
    return found


def continuous_clock(lines: list[dict]) -> list[dict]:
    """Log lines with one continuous clock over several sessions; steps that a resumed run repeated count once.

    A clock that restarts near 0 begins a new session; one that goes back a little is a run resumed from a checkpoint.
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
    left, top = corner[0] + PANEL_MARGIN, corner[1] + PANEL_MARGIN
    width, height = WIDE - PANEL_MARGIN - 100, HIGH - 2 * PANEL_MARGIN
    font = ImageFont.load_default(12)
    measured = [line for line in lines if line["stage"] == stage and SCORES_SHOWN[stage][0] in line]
    if not measured:
        return
    longest = max(line["seconds"] for line in measured) / 60
    pen.text((left, corner[1] + 14), f"{stage}, {longest:.0f} minutes", fill="black", font=ImageFont.load_default(14))
    for tick in (0, 0.5, 1):
        y = top + height * (1 - tick)
        pen.line((left, y, left + width, y), fill="#dddddd")
        pen.text((left - 26, y - 7), f"{tick:.1f}", fill="#555555", font=font)
    for index, name in enumerate(SCORES_SHOWN[stage]):
        points = [
            (left + width * line["seconds"] / 60 / longest, top + height * (1 - line[name]))
            for line in measured
            if name in line
        ]
        pen.line(points, fill=LINE_COLOURS[index], width=2)
        pen.text((left + width + 8, top + 16 * index), name, fill=LINE_COLOURS[index], font=font)


def main() -> None:
    """Write the log and the picture."""
    lines = gather()
    text = ",\n".join(json.dumps(line) for line in lines)
    (MODEL_FOLDER / "training_log.json").write_text(f"[\n{text}\n]\n")
    picture = Image.new("RGB", (2 * WIDE, 2 * HIGH), "white")
    pen = ImageDraw.Draw(picture)
    for index, stage in enumerate(SCORES_SHOWN):
        panel(pen, (index % 2 * WIDE, index // 2 * HIGH), stage, lines)
    picture.save(MODEL_FOLDER / "learning_curve.png", optimize=True)


if __name__ == "__main__":
    main()
