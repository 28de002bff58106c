"""Tiles that are partly padding: a method sees only the rectangle that shows the picture, as a smaller tile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

import torch
from torch import Tensor

from vscan_core.selection import Selection, Signals

PER_TOKEN = ("features", "projected", "keys", "joint_patches")  # signals of cut 0 whose second axis, after tiles, it is


class Region(NamedTuple):
    """A rectangle in the grid of a tile's tokens: rows top to bottom - 1, columns left to right - 1."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def of(cls, tokens: Tensor, grid: tuple[int, int]) -> Region | None:
        """The rectangle that `tokens` (n,) of a tile of `grid` (rows, cols) fill; None: it is the whole tile.

        Raises ValueError if they do not fill a rectangle.
        """
        if not len(tokens):
            return cls(0, 0, 0, 0)  # nothing but padding
        rows, cols = tokens // grid[1], tokens % grid[1]
        found = cls(int(rows.min()), int(rows.max()) + 1, int(cols.min()), int(cols.max()) + 1)
        if found.tokens != len(tokens):
            raise ValueError(f"{len(tokens)} tokens do not fill a rectangle in a tile of {grid[0]} x {grid[1]}")
        return None if len(tokens) == grid[0] * grid[1] else found

    @property
    def grid(self) -> tuple[int, int]:
        """Its rows and columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def tokens(self) -> int:
        """How many there are."""
        return self.grid[0] * self.grid[1]

    def indices(self, cols: int, device: torch.device) -> Tensor:
        """(tokens,) which of a tile with `cols` columns they are, ascending; never write to it."""
        return _indices(self, cols, device)

    def only(self, tiles: Signals) -> Signals:
        """Signals whose first axis is the tiles -> those of the tokens in the rectangle."""
        assert tiles.grid is not None
        index = self.indices(tiles.grid[1], tiles.device)
        given = {name: rows for name in PER_TOKEN if (rows := getattr(tiles, name)) is not None}
        return replace(
            tiles,
            **{name: rows.index_select(1, index) for name, rows in given.items()},
            cls_attention={layer: rows.index_select(-1, index) for layer, rows in tiles.cls_attention.items()},
            received={layer: rows.index_select(-1, index) for layer, rows in tiles.received.items()},
            grid=self.grid,
        )

    def choices(self, choose: Callable[[Signals, int], list[Selection]], tiles: Signals, keep: int) -> list[Selection]:
        """What `choose` keeps of the rectangle of each tile: `keep` tokens, or all that it has."""
        assert tiles.grid is not None
        if not self.tokens:
            none = self.indices(tiles.grid[1], tiles.device)
            return [Selection(none) for _ in tiles.each()]
        made = choose(self.only(tiles), min(keep, self.tokens))
        return [self.in_tile(one, tiles.grid) for one in made]

    def in_tile(self, chosen: Selection, grid: tuple[int, int]) -> Selection:
        """A choice among the tokens of the rectangle as one among those of the tile; padding has no scores."""
        index = self.indices(grid[1], chosen.kept.device)
        tokens = grid[0] * grid[1]
        into = chosen.merged_into
        if into is not None:
            into = index.new_full((tokens,), -1).index_copy(0, index, index[into].where(into >= 0, -1))
        scores = {
            name: rows.new_full((tokens,), torch.nan).index_copy(0, index, rows) for name, rows in chosen.scores.items()
        }
        mix = chosen.mix
        if mix is not None:
            mix = mix.new_zeros(len(mix), tokens).index_copy(1, index, mix)
        labels = {name: index[rows] for name, rows in chosen.labels.items()}
        return Selection(index[chosen.kept], labels, into, scores, mix)


def chosen_in(
    choose: Callable[[Signals, int], list[Selection]], tiles: Signals, keep: int, regions: Sequence[Region | None]
) -> list[Selection]:
    """What `choose` keeps of tiles of one grid, of each among the tokens of its region; None: of all of them."""
    if not any(regions):
        return choose(tiles, keep)
    assert tiles.grid is not None
    found = dict[int, Selection]()
    for region in dict.fromkeys(regions):
        places = [place for place, one in enumerate(regions) if one == region]
        # a slice where that is possible, because it copies nothing
        which = slice(places[0], places[-1] + 1) if places[-1] - places[0] < len(places) else places
        some = tiles.mapped(itemgetter(which))
        made = choose(some, keep) if region is None else region.choices(choose, some, keep)
        found |= dict(zip(places, made, strict=True))
    return alike([found[place] for place in range(len(regions))], tiles.grid[0] * tiles.grid[1])


def alike(tiles: Sequence[Selection], tokens: int) -> list[Selection]:
    """The selections of tiles of `tokens` tokens, all with the same names of labels and scores: none, or NaN."""
    if len(tiles) == 1:
        return list(tiles)
    kept = tiles[0].kept
    labels = {name: kept[:0] for one in tiles for name in one.labels}
    scores = {name: rows.new_full((tokens,), torch.nan) for one in tiles for name, rows in one.scores.items()}
    return [replace(one, labels={**labels, **one.labels}, scores={**scores, **one.scores}) for one in tiles]


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _indices(region: Region, cols: int, device: torch.device) -> Tensor:
    """(region's tokens,) which of a tile with `cols` columns they are, ascending."""
    rows = torch.arange(region.top, region.bottom)[:, None] * cols
    return (rows + torch.arange(region.left, region.right)).flatten().to(device)
