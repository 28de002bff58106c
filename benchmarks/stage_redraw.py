"""How long the demo's token map takes to redraw in a browser, while its slider moves.

python -m benchmarks.stage_redraw [--steps 200] [--side 800] [--out assets/recorded/NAME.json]

Random scores on the tokens of LLaVA-1.5 (576) and of LLaVA-NeXT with five tiles (2880), in headless Chromium. One step
is what a moved slider costs: the first cut from cached ranks, the map, the legend, and reading one pixel back, which
waits until everything has been drawn. Timed by the browser's own performance.now(). Needs Chromium: the system's, or
the one that the environment variable CHROMIUM names.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image

import vscan_core as vc
from app.session.scan import scan_data
from app.stage.widget import STAGE_FOLDER, scripts
from benchmarks.provenance import write_record
from vscan_core import geometry
from vscan_core.bench.record import provenance
from vscan_core.draw.canvas import canvas_of
from vscan_core.draw.map_data import map_data
from vscan_core.engine.preview import VisionPreview
from vscan_core.families.tiles import TokenLayout
from vscan_core.selection import Needs

SEEN_BY = vc.Anatomy(vision_layers=24, feature_layer=22, text_layers=32, shallow_layer=5)
TILE_GRID, TILE_PX = (24, 24), 336
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
REDRAW = """steps => {
  const { stage } = document.querySelector('.stage'), times = [];
  for (let step = 0; step < steps + 20; step++) {
    const start = performance.now();
    stage.drag(1 + (step * 37) % 99);
    stage.layer.getContext('2d').getImageData(0, 0, 1, 1);
    times.push(performance.now() - start);
  }
  return times.slice(20).sort((a, b) => a - b);
}"""


def stage_of(tiles: int) -> dict[str, Any]:
    """The data of a stage: a picture of one tile, or of four tiles and one more of the whole, with random scores."""
    make = torch.Generator().manual_seed(0)
    tokens = TILE_GRID[0] * TILE_GRID[1]
    size = TILE_PX if tiles == 1 else 2 * TILE_PX
    boxes = geometry.patch_boxes(*TILE_GRID, size, size)
    if tiles > 1:
        boxes = torch.cat([geometry.tile_boxes(TILE_GRID, (2, 2), size, size), boxes])

    def signals() -> vc.Signals:
        attention = {layer: torch.rand(1, tokens, generator=make) for layer in (SEEN_BY.shallow_layer, 22)}
        rows = torch.randn(tokens, 8, generator=make)
        return vc.Signals(features=rows, projected=rows, cls_attention=attention, grid=TILE_GRID)

    layout, reducer = TokenLayout(tiles, None, boxes), vc.VScan(1 / 9)
    encoder: Any = SimpleNamespace(anatomy=SEEN_BY)
    vision = VisionPreview(encoder, Needs(), [signals() for _ in range(tiles)], layout)
    keep = reducer.schedule(tokens, SEEN_BY, tiles)[0]
    trace = layout.trace(TILE_GRID, [reducer.select(tile, keep) for tile in vision.tiles])
    data = map_data(trace, canvas_of(Image.new("RGB", (size, size)), trace, boxes))
    about = {"retention": 1 / 9, "ran": False, "title": "VScan", "vscan": True, "other": None}
    return data | about | {"picture": {"path": "", "url": PIXEL}, "scan": scan_data(vision, reducer, SEEN_BY)}


def redraw_times(page: Any, data: dict[str, Any], steps: int, side: int) -> list[float]:
    """Milliseconds per step, ascending."""
    css = (STAGE_FOLDER / "stage.css").read_text(encoding="utf-8")
    html = (STAGE_FOLDER / "stage.html").read_text(encoding="utf-8")
    page.set_content(f"<style>{css}.stage {{ --stage-height: {side}px !important }}</style><div>{html}</div>")
    page.evaluate(
        f"value => {{ const element = document.querySelector('div'), props = {{ value }}, trigger = () => 0,"
        f" watch = () => 0; {scripts()} }}",
        data,
    )
    page.wait_for_function("() => document.querySelector('.stage-layer').width > 0")
    found: list[float] = page.evaluate(REDRAW, steps)
    return found


def main(argv: list[str] | None = None) -> None:
    """Measure, print, and write the record."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--side", type=int, default=800, help="of the map on the page, pixels")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    load, rows = os.getloadavg()[0], []
    with sync_playwright() as playwright:
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--headless=new"])
        page = browser.new_page(viewport={"width": options.side + 100, "height": options.side + 400})
        for tiles in (1, 5):
            times = redraw_times(page, stage_of(tiles), options.steps, options.side)
            middle, late = times[len(times) // 2], times[int(0.95 * len(times))]
            row = {"tokens": 576 * tiles, "median_ms": middle, "p95_ms": late, "max_ms": times[-1]}
            rows.append({name: round(value, 2) for name, value in row.items()})
            print(rows[-1])
        version = browser.version
        browser.close()
    command = f"python -m benchmarks.stage_redraw --steps {options.steps} --side {options.side}"
    write_record({**provenance(command), "load_before": round(load, 1), "chromium": version, "rows": rows}, options.out)


if __name__ == "__main__":
    main()
