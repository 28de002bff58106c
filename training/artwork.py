"""Fetch the emoji artwork from npm and render it once: python -m training.artwork.

Needs `npm` and `resvg-py`. Writes assets/world/STYLE.webp, one row of pictures per style in the catalog's order.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from vscan_eval.world.catalog import ARTWORK_KINDS, HELD_OUT_STYLE, TRAINED_STYLES
from vscan_eval.world.sprites import SPRITE_COLUMNS, SPRITE_FOLDER, SPRITE_PIXELS

VERSIONS = {
    "noto": "1.2.9",
    "twemoji": "1.2.5",
    "fluent-emoji-flat": "1.2.6",
    "emojione": "1.2.3",
    "fxemoji": "1.2.2",
}
LICENCES = {
    "noto": "Apache-2.0",
    "twemoji": "CC-BY-4.0",
    "fluent-emoji-flat": "MIT",
    "emojione": "CC-BY-4.0",
    "fxemoji": "Apache-2.0",
}
# Icon names that differ from our word; the first match wins.
ICON_NAMES: dict[str, tuple[str, ...]] = {
    "cat": ("cat-face", "cat"),
    "dog": ("dog-face", "dog"),
    "pig": ("pig-face", "pig"),
    "frog": ("frog", "frog-face"),
    "fish": ("tropical-fish", "tropicalfish"),
    "cow": ("cow-face", "cowface"),
    "monkey": ("monkey-face", "monkeyface"),
    "panda": ("panda", "panda-face", "pandaface"),
    "tiger": ("tiger-face", "tiger"),
    "rabbit": ("rabbit-face", "bunny"),
    "whale": ("spouting-whale", "spurtingwhale"),
    "bee": ("honeybee",),
    "apple": ("red-apple", "redapple"),
    "burger": ("hamburger",),
    "cake": ("birthday-cake", "birthdaycake"),
    "donut": ("doughnut",),
    "pizza": ("pizza", "sliceofpizza"),
    "car": ("automobile",),
    "plane": ("airplane",),
    "boat": ("sailboat",),
    "truck": ("delivery-truck", "deliverytruck"),
    "train": ("locomotive", "steamlocomotive"),
    "tree": ("deciduous-tree", "deciduoustree"),
    "house": ("house", "housebuilding"),
    "flower": ("sunflower",),
    "umbrella": ("umbrella", "open-umbrella"),
    "clock": ("alarm-clock", "alarmclock"),
    "hat": ("top-hat", "tophat"),
    "moon": ("crescent-moon", "crescentmoon"),
    "snowman": ("snowman-without-snow", "snowmanwithoutsnow"),
    "peach": ("peach",),
}


def fetch(folder: Path) -> dict[str, dict]:
    """Install the icon packages and return their contents by style, licences checked."""
    packages = [f"@iconify-json/{style}@{version}" for style, version in VERSIONS.items()]
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("npm was not found; install Node.js to fetch the artwork")
    subprocess.run([npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), *packages], check=True)
    sets = {}
    for style in VERSIONS:
        home = folder / "node_modules" / "@iconify-json" / style
        licence = json.loads((home / "info.json").read_text())["license"]["spdx"]
        if licence != LICENCES[style]:
            raise RuntimeError(f"{style} is now under {licence}, expected {LICENCES[style]}; check before use")
        sets[style] = json.loads((home / "icons.json").read_text())
    return sets


def svg(icons: dict, names: tuple[str, ...]) -> str | None:
    """The first of these icons as an SVG document, following aliases."""
    for name in names:
        name = icons.get("aliases", {}).get(name, {}).get("parent", name)
        icon = icons["icons"].get(name)
        if icon:
            side = icon.get("width", icons.get("width", icons.get("height", 16)))
            height = icon.get("height", icons.get("height", 16))
            name_spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
            return f'<svg {name_spaces} viewBox="0 0 {side} {height}">{icon["body"]}</svg>'
    return None


def render(document: str) -> Image.Image:
    """SVG -> RGBA square of SPRITE_PIXELS, trimmed to its ink and centred."""
    import resvg_py

    picture = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=document, width=288, height=288))))
    picture = picture.convert("RGBA").crop(picture.convert("RGBA").getbbox())
    side = max(picture.size)
    square = Image.new("RGBA", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square.resize((SPRITE_PIXELS, SPRITE_PIXELS), Image.Resampling.LANCZOS)


def main() -> None:
    """Fetch, render and save every sheet. Raises RuntimeError if a set lacks a picture or has a new licence."""
    with tempfile.TemporaryDirectory() as temporary:
        sets = fetch(Path(temporary))
    SPRITE_FOLDER.mkdir(parents=True, exist_ok=True)
    rows = -(-len(ARTWORK_KINDS) // SPRITE_COLUMNS)
    for style in (*TRAINED_STYLES, HELD_OUT_STYLE):
        canvas = Image.new("RGBA", (SPRITE_COLUMNS * SPRITE_PIXELS, rows * SPRITE_PIXELS))
        for place, name in enumerate(ARTWORK_KINDS):
            document = svg(sets[style], ICON_NAMES.get(name, (name,)))
            if document is None:
                raise RuntimeError(f"{style} has no picture of {name} under {ICON_NAMES.get(name, (name,))}")
            canvas.paste(
                render(document), (place % SPRITE_COLUMNS * SPRITE_PIXELS, place // SPRITE_COLUMNS * SPRITE_PIXELS)
            )
        clear = np.asarray(canvas).copy()
        clear[clear[..., 3] == 0] = 0
        Image.fromarray(clear).save(SPRITE_FOLDER / f"{style}.webp", lossless=True, quality=100, method=6)
        print(f"{len(ARTWORK_KINDS)} pictures in {SPRITE_FOLDER / style}.webp")


if __name__ == "__main__":
    main()
