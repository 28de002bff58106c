"""Draw the pictures of docs/concepts.md: `python docs/make_pictures.py`. Every one comes from a real run of "mini".

Token maps are drawn by the library (`vscan_core.draw`); the diagrams show schedules that the methods computed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import vscan_core as vc  # noqa: E402
from vscan_core.draw.fates import fates  # noqa: E402
from vscan_core.draw.token_map import token_map  # noqa: E402
from vscan_core.events import Done  # noqa: E402
from vscan_core.resources import asset  # noqa: E402
from vscan_core.selection import Anatomy  # noqa: E402

PICTURE_FOLDER = ROOT / "docs" / "pictures"
EXAMPLE = "scene_60003.png"
MAP_SIDE = 504  # pixels of a token map on the page
LLAVA_7B = Anatomy(vision_layers=24, feature_layer=22, text_layers=32, shallow_layer=5)
SCHEDULES = {"vscan": "#e07b00", "vispruner": "#2f6fd0", "fastv": "#2a9d6f"}
LEFT, TOP, BAR, BAR_GAP, HEIGHT = 52, 30, 14, 4, 100  # of a diagram, pixels


def run(lvlm: vc.LVLM, picture: Image.Image, question: str, method: vc.Reducer | None) -> vc.Answer:
    """The answer of one run."""
    return next(event.answer for event in vc.answer(lvlm, picture, question, method) if isinstance(event, Done))


def save(picture: Image.Image, name: str) -> None:
    """A small PNG."""
    small = picture.resize((MAP_SIDE, MAP_SIDE), Image.Resampling.LANCZOS)
    small.quantize(128, dither=Image.Dither.NONE).save(PICTURE_FOLDER / f"{name}.png", optimize=True)


def token_maps(lvlm: vc.LVLM, picture: Image.Image, question: str) -> None:
    """All visual tokens, what two cuts of VScan leave, its scores, and what other methods keep."""
    trace = run(lvlm, picture, question, vc.VScan(retention=1 / 9)).trace
    image, boxes = trace.images[0], trace.boxes(0)
    save(token_map(picture, image, boxes, fates(image, cuts=0)), "visual_tokens")
    save(token_map(picture, image, boxes, fates(image, cuts=1)), "cut_0")
    save(token_map(picture, image, boxes, fates(image)), "cut_k")
    save(token_map(picture, image, boxes, image.cuts[0].scores["global"]), "cls_attention")
    for name, retention in (("divprune", 1 / 9), ("fastv", 1 / 2)):
        trace = run(lvlm, picture, question, vc.REDUCERS[name](retention=retention)).trace
        image = trace.images[0]
        save(token_map(picture, image, trace.boxes(0), fates(image)), name)


def diagram(name: str, colour: str, tokens: int = 576) -> str:
    """Bars of visual tokens per decoder layer at a retention of 1/9, and their average, as SVG."""
    cls = vc.REDUCERS[name]
    cuts, layers, now, bars = cls(1 / 9).schedule(tokens, LLAVA_7B), LLAVA_7B.text_layers, tokens, []
    for layer in range(layers):
        now = cuts.get(layer, now)
        height = max(HEIGHT * now / tokens, 1)
        x, y = LEFT + layer * (BAR + BAR_GAP), TOP + HEIGHT - height
        bars.append(f'<rect x="{x}" y="{y:.1f}" width="{BAR}" height="{height:.1f}" fill="{colour}"/>')
        if layer == 0 or layer in cuts:
            bars.append(
                f'<text x="{x}" y="{y - 5:.1f}" stroke="#fff" stroke-width="4" paint-order="stroke">{now}</text>'
            )
    width, floor = LEFT + layers * (BAR + BAR_GAP) + 8, TOP + HEIGHT
    average = floor - HEIGHT / 9
    axis = "".join(
        f'<text x="{LEFT + layer * (BAR + BAR_GAP)}" y="{floor + 16}">{layer}</text>'
        for layer in (0, 8, 16, 24, layers - 1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {floor + 40}" font-family="sans-serif" '
        f'font-size="12" fill="#444">'
        f'<rect width="100%" height="100%" fill="#fff" rx="6"/>'
        f'<line x1="{LEFT}" x2="{width - 8}" y1="{average:.1f}" y2="{average:.1f}" stroke="#c00" '
        f'stroke-dasharray="5 4"/>'
        f'<text x="{width - 8}" y="{average - 5:.1f}" text-anchor="end" fill="#c00">average 64 of 576</text>'
        f"{''.join(bars)}"
        f'<text x="8" y="18" font-weight="bold">{cls.title}</text>'
        f'<text x="{LEFT - 6}" y="{TOP + 8}" text-anchor="end">576</text>'
        f'<text x="{LEFT - 6}" y="{floor}" text-anchor="end">0</text>{axis}'
        f'<text x="{LEFT}" y="{floor + 33}">decoder layer</text></svg>\n'
    )


def main() -> None:
    folder = asset("examples")
    examples = {entry["image"]: entry for entry in json.loads((folder / "examples.json").read_text())}
    PICTURE_FOLDER.mkdir(exist_ok=True)
    with Image.open(folder / EXAMPLE) as picture:
        picture.load()
        token_maps(vc.load_model("mini"), picture, examples[EXAMPLE]["question"])
    for name, colour in SCHEDULES.items():
        (PICTURE_FOLDER / f"schedule_{name}.svg").write_text(diagram(name, colour))


if __name__ == "__main__":
    main()
