"""Which tiles a method gets at once: all of one grid (and question), or of one image or video, if it compares tiles."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from vscan_core.families.tiles import Tiles


class TileGroup(NamedTuple):
    """Tiles of one grid, by their places."""

    places: list[int]
    video: bool = False  # whether they are the frames of one video


def of_one_grid(tiles: Tiles) -> list[TileGroup]:
    """All tiles of a size together, whatever image they belong to."""
    grids = tiles.grids
    return [TileGroup([i for i, one in enumerate(grids) if one == grid]) for grid in dict.fromkeys(grids)]


def of_one_question(tiles: Tiles, questions: Sequence[str]) -> list[TileGroup]:
    """All tiles of a size that the same question is about; questions: of each tile."""
    kinds = list(zip(tiles.grids, questions, strict=True))
    return [TileGroup([i for i, one in enumerate(kinds) if one == kind]) for kind in dict.fromkeys(kinds)]


def of_one_video(tiles: Tiles) -> list[TileGroup]:
    """The tiles of each image or video; where no layouts tell, every tile is an image."""
    found = [(layout.tiles, layout.view.frames > 0) for layout in tiles.layouts or ()]
    if sum(number for number, _ in found) != len(tiles.grids):
        found = [(1, False)] * len(tiles.grids)
    starts = accumulate((number for number, _ in found), initial=0)
    return [TileGroup([*range(at, at + number)], video) for at, (number, video) in zip(starts, found, strict=False)]
