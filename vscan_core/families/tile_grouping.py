"""Which tiles make one picture, read from the prompt, because nothing else in the inputs of a model shows it.

The stock processors write a picture of several tiles in one of two ways:
- `contiguous` (InternVL): all its tiles as one run of placeholders;
- `separated` (Idefics3, SmolVLM): every tile as a separate run after a tag with its row and column, and finally the
  whole picture as a run after a tag of its own.
Both functions take `ids` (batch, length) int64, `token`, the placeholder's id, and `per_tile`, the visual tokens of a
tile, and read the batch row by row. They return None for a prompt that no stock processor writes. `tiled` makes layouts
of what they found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.families.tiles import TiledPicture, TokenLayout
from vscan_core.trace import View

WIDEST = 6  # tiles; the tags run from <row_1_col_1> to <row_6_col_6>


class _Run(NamedTuple):
    """A run of placeholders with nothing between them."""

    length: int
    before: tuple[int, ...]  # ids between it and the previous run, or the beginning of the prompt
    after: int | None  # the id after it

    @property
    def tag(self) -> int:
        return self.before[-1]

    @property
    def mark(self) -> int:
        return self.before[-2]

    @property
    def gap(self) -> tuple[int, ...]:
        """The ids between the previous run and the mark: none, or new lines."""
        return self.before[:-2]


def contiguous(ids: Tensor, token: int, per_tile: int) -> list[int] | None:
    """The number of tiles of each picture, if a picture is one run; None if a run is no multiple of `per_tile`.

    token 9, per_tile 2: 1 9 9 9 9 5 9 9 -> [2, 1]
    """
    lengths = [run.length for row in ids.tolist() for run in _runs(row, token)]
    return None if any(length % per_tile for length in lengths) else [length // per_tile for length in lengths]


def separated(ids: Tensor, token: int, per_tile: int) -> list[tuple[int, int]] | None:
    """(rows, cols) of each picture, if a tile is a run; all but (1, 1) have one more tile, of the whole picture.

    With m for the mark around pictures, w for the tag of whole ones, and / for a new line:
    m a ## m b ## / m c ## m d ## / / m w ## m -> [(2, 2)]
    No config contains these ids: they are found by their positions and must be the same in all pictures.
    """
    prompts = [runs for row in ids.tolist() if (runs := list(_runs(row, token)))]
    runs = [run for prompt in prompts for run in prompt]
    if not runs:
        return []
    if any(run.length != per_tile or len(run.before) < 2 for run in runs):
        return None
    whole, mark = runs[-1].tag, runs[-1].mark
    if whole == mark or any(run.mark != mark for run in runs) or any(prompt[-1].tag != whole for prompt in prompts):
        return None
    if not all(_closed(prompt, whole, mark) for prompt in prompts):
        return None
    pictures = [picture for prompt in prompts for picture in _pictures(prompt, whole)]
    shapes = [
        _shape([run.tag for run in tiles], [run.gap for run in [*tiles[1:], all_of_it]])
        for *tiles, all_of_it in pictures
    ]
    known = [shape for shape in shapes if shape is not None]
    return known if len(known) == len(pictures) and _alike(pictures, known) else None


def _runs(row: Sequence[int], token: int) -> Iterator[_Run]:
    before: tuple[int, ...] = ()
    end = 0
    for visual, group in groupby(row, key=token.__eq__):
        stretch = tuple(group)
        end += len(stretch)
        if visual:
            yield _Run(len(stretch), before, row[end] if end < len(row) else None)
        before = stretch


def _closed(prompt: Sequence[_Run], whole: int, mark: int) -> bool:
    """Whether every picture is followed by a closing mark, which is not the opening mark of the next picture."""
    apart = all(later.gap for earlier, later in pairwise(prompt) if earlier.tag == whole)
    return apart and all(run.after == mark for run in prompt if run.tag == whole)


def _pictures(prompt: Sequence[_Run], whole: int) -> Iterator[list[_Run]]:
    """The runs of each picture; the last one shows the whole picture."""
    picture = []
    for run in prompt:
        picture.append(run)
        if run.tag == whole:
            yield picture
            picture = []


def _shape(tags: Sequence[int], gaps: Sequence[tuple[int, ...]]) -> tuple[int, int] | None:
    """(rows, cols) of a picture, from the tags of its tiles and the gap after each; None if they form no grid."""
    tiles = len(tags)
    if tiles < 2:
        return None if tiles else (1, 1)
    if gaps[-1]:
        cols = next(place for place, gap in enumerate(gaps, 1) if gap)
        regular = [bool(gap) for gap in gaps] == [place % cols == 0 for place in range(1, tiles + 1)]
    else:  # a tokenizer without new lines; the ids of its tags are consecutive, WIDEST to a row
        steps = [tag - tags[0] for tag in tags]
        cols = max(step % WIDEST for step in steps) + 1
        regular = steps == [place // cols * WIDEST + place % cols for place in range(tiles)]
    return (tiles // cols, cols) if regular and tiles % cols == 0 else None


def _alike(pictures: Sequence[Sequence[_Run]], shapes: Sequence[tuple[int, int]]) -> bool:
    """Whether new lines and tags are the same in all pictures, with one tag for each place."""
    cut = [(picture, cols) for picture, (_, cols) in zip(pictures, shapes, strict=True) if len(picture) > 1]
    lines = {run.gap for picture, _ in cut for run in picture[1:-1] if run.gap}
    ends = {picture[-1].gap for picture, _ in cut}
    named = {(*divmod(place, cols), run.tag) for picture, cols in cut for place, run in enumerate(picture[:-1])}
    tags, places = {name[2] for name in named}, {name[:2] for name in named}
    return len(lines) <= 1 and len(ends) <= 1 and len(named) == len(tags) == len(places)


def tiled(
    pictures: Sequence[TiledPicture] | None,
    views: Sequence[View],
    tiles: int,
    grid: tuple[int, int],
    side: tuple[int, int],
) -> list[TokenLayout]:
    """The pictures that make `tiles` tiles of `side` = (height, width) pixels and `grid` = (rows, cols) tokens each.

    pictures: if None, or if their tiles do not add up to `tiles`, every tile is a separate image in its own pixels. A
    longer list (beam search repeats prompts, not pictures) is read only as far as there are tiles. views: what is known
    beyond it; empty: nothing.
    """
    found: list[TiledPicture] = []
    for picture in _as_viewed(pictures or (), views):
        if sum(one.tiles for one in found) < tiles:
            found.append(picture)
    if sum(one.tiles for one in found) != tiles:
        found = [TiledPicture(1)] * tiles
    return [_whole(one, grid, *side) for one in found]


def _as_viewed(pictures: Sequence[TiledPicture], views: Sequence[View]) -> Sequence[TiledPicture]:
    """The pictures of a prompt with what their views tell beyond it: the grid of tiles, and frames of one video.

    Returns `pictures` if these are not the views of a prompt with these tiles.
    """
    expected = [tiles for view in views for tiles in ([1] * view.frames or [view.tiles])]
    if [one.tiles for one in pictures] != expected:
        return pictures
    return [
        TiledPicture(view.frames, video=True)
        if view.frames
        else TiledPicture(view.tiles, view.cut if view.tiles > 1 else None)
        for view in views
    ]


def _whole(picture: TiledPicture, grid: tuple[int, int], height: int, width: int) -> TokenLayout:
    if picture.cut is None:  # frames, or unknown arrangement: boxes are in the pixels of each tile
        canvas = (width, height) if picture.video or picture.tiles == 1 else None
    else:
        canvas = (picture.cut[1] * width, picture.cut[0] * height)
    view = View(frames=picture.tiles if picture.video else 0)
    return TokenLayout(picture.tiles, None, _boxes(picture, grid, height, width), view, canvas)


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _boxes(picture: TiledPicture, grid: tuple[int, int], height: int, width: int) -> Tensor:
    if picture.cut is None:
        return geometry.patch_boxes(*grid, height, width).repeat(picture.tiles, 1)
    down, across = picture.cut
    size = (down * height, across * width)
    return torch.cat([geometry.tile_boxes(grid, picture.cut, *size), geometry.patch_boxes(*grid, *size)])
