"""Fetch the emoji artwork from npm and render it once: python -m training.artwork.

Needs `npm` and `resvg-py`. Writes training/artwork/sprites.npz (not in version control).
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

from vscan_core.world.catalog import ARTWORK_CLASSES, EMOJI_NAMES
from vscan_core.world.scene import STYLES
from vscan_core.world.sprites import SPRITE_PIXELS, SPRITES

VERSIONS = {"noto": "1.2.9", "twemoji": "1.2.5", "fluent-emoji-flat": "1.2.6", "emojione": "1.2.3"}
LICENCES = {"noto": "Apache-2.0", "twemoji": "CC-BY-4.0", "fluent-emoji-flat": "MIT", "emojione": "CC-BY-4.0"}


def fetch(folder: Path) -> dict[str, dict]:
    """Install the icon packages and return their contents by style, licences checked."""
    packages = [f"@iconify-json/{style}@{VERSIONS[style]}" for style in STYLES]
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("npm was not found; install Node.js to fetch the artwork")
    subprocess.run([npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), *packages], check=True)
    sets = {}
    for style in STYLES:
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


def render(document: str) -> np.ndarray:
    """SVG -> (SPRITE_PIXELS, SPRITE_PIXELS, 4) uint8, trimmed to its ink and centred on a square."""
    import resvg_py

    picture = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=document, width=288, height=288))))
    picture = picture.convert("RGBA").crop(picture.convert("RGBA").getbbox())
    side = max(picture.size)
    square = Image.new("RGBA", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(square.resize((SPRITE_PIXELS, SPRITE_PIXELS), Image.Resampling.LANCZOS))


def main() -> None:
    """Fetch, render, save; says which pictures are missing from which set."""
    with tempfile.TemporaryDirectory() as temporary:
        sets = fetch(Path(temporary))
    sprites = {}
    for style, icons in sets.items():
        for name in ARTWORK_CLASSES:
            document = svg(icons, EMOJI_NAMES[name])
            if document is None:
                raise RuntimeError(f"{style} has no picture of {name} under {EMOJI_NAMES[name]}")
            sprites[f"{style}/{name}"] = render(document)
    SPRITES.parent.mkdir(exist_ok=True)
    np.savez_compressed(SPRITES, **sprites)
    print(f"{len(sprites)} sprites in {SPRITES}")


if __name__ == "__main__":
    main()
