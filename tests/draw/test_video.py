"""A video drawn as one picture: frames in order, tokens where they are, and captions that tell the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import vscan_core as vc
from tests.video_files import shades
from vscan_core.draw.canvas import canvas_of
from vscan_core.draw.fates import fates
from vscan_core.draw.token_map import token_map
from vscan_core.families.tiles import TokenLayout
from vscan_core.geometry import patch_boxes
from vscan_core.report import kept_per_tile
from vscan_core.trace import Trace, View

ROWS, COLS = 4, 6


def trace_of(frames: int, tiles: int, kept: list[list[int]], cls: bool = False) -> Trace:
    """One video whose tiles keep the given tokens; cls puts a token without a place before each tile."""
    boxes, origin = patch_boxes(ROWS, COLS, 64, 96), None
    if cls:
        numbers = torch.arange(tiles * ROWS * COLS).view(tiles, -1)
        origin = torch.cat([numbers.new_full((tiles, 1), -1), numbers], dim=1).flatten()
        boxes = torch.cat([torch.full((1, 4), torch.nan), boxes])
    token_layout = TokenLayout(tiles, origin, boxes.repeat(tiles, 1), View(size=(96, 64), frames=frames))
    return Trace([token_layout.trace((ROWS, COLS), [vc.Selection(torch.tensor(tile)) for tile in kept])])


@pytest.mark.parametrize("cls", [False, True])
def test_boxes_are_in_the_cell_of_their_frame(cls: bool) -> None:
    video, trace = vc.Video(shades(5)), trace_of(5, 5, [[0]] * 5, cls)
    canvas = canvas_of(video, trace.images[0], trace.boxes(0))
    tile_of = trace.images[0].tile_of
    centres = (canvas.boxes[:, :2] + canvas.boxes[:, 2:]) / 2
    for tile, (x0, y0, x1, y1) in enumerate(canvas.cells):
        mine = centres[tile_of == tile]
        assert len(mine) == ROWS * COLS
        assert ((mine > torch.tensor([x0, y0])) & (mine < torch.tensor([x1, y1]))).all()
        middle = canvas.picture.getpixel(((x0 + x1) // 2, (y0 + y1) // 2))
        assert middle[0] == pytest.approx(255 * tile / 4, abs=1)
    assert bool(canvas.boxes[tile_of < 0].isnan().all()) and (tile_of < 0).sum() == 5 * cls


@pytest.mark.parametrize(
    ("frames", "tiles", "times"), [(4, 4, ("0.0 s", "1.0 s", "2.0 s", "3.0 s")), (3, 2, ("0.0 + 1.0 s", "2.0 s"))]
)
def test_captions_name_the_frames_of_a_tile(frames: int, tiles: int, times: tuple[str, ...]) -> None:
    trace = trace_of(frames, tiles, [[0]] * tiles)
    assert canvas_of(vc.Video(shades(frames)), trace.images[0], trace.boxes(0)).times == times


def test_captions_count_what_the_trace_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, place, text, *_, **__: written.append(text))
    trace = trace_of(3, 3, [[0], [1, 2, 3], [5, 6]], cls=True)
    image = trace.images[0]
    token_map(vc.Video(shades(3)), image, trace.boxes(0), fates(image))
    assert [int(text.split()[2]) for text in written] == kept_per_tile(image) == [1, 3, 2]
    assert written[0] == f"0.0 s: 1 of {ROWS * COLS}"


def test_a_kept_token_looks_different_from_a_dropped_one_in_its_own_frame_only() -> None:
    video = vc.Video([Image.new("RGB", (96, 64), "white")] * 4)
    pictures = [
        np.asarray(token_map(video, trace.images[0], trace.boxes(0), fates(trace.images[0])).convert("L"), float)
        for trace in (trace_of(4, 4, kept) for kept in ([[0]] * 4, [[0], [0], [7], [0]]))
    ]
    trace = trace_of(4, 4, [[0]] * 4)
    cells = canvas_of(video, trace.images[0], trace.boxes(0)).cells
    changed = [np.abs(pictures[0] - pictures[1])[y0:y1, x0:x1].max() > 50 for x0, y0, x1, y1 in cells]
    assert changed == [False, False, True, False]


@pytest.mark.parametrize("tiles", [1, 3, 8, 64])
@pytest.mark.parametrize("size", [(96, 64), (64, 200)])
def test_any_number_of_frames_makes_a_picture(tiles: int, size: tuple[int, int]) -> None:
    trace = trace_of(tiles, tiles, [[0]] * tiles)
    video, image, boxes = vc.Video(shades(tiles, size)), trace.images[0], trace.boxes(0)
    canvas = canvas_of(video, image, boxes)
    pictures = [token_map(video, image, boxes, marks) for marks in (fates(image), None)]
    assert {picture.size for picture in pictures} == {canvas.picture.size}
    assert max(x1 for _, _, x1, _ in canvas.cells) <= canvas.picture.width
