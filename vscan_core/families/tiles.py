"""How the tiles of one image in the vision encoder become its visual tokens in the LLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.selection import Selection
from vscan_core.trace import Cut, ImageTrace, View


@dataclass(frozen=True)
class TiledPicture:
    """A picture that the vision encoder sees as tiles."""

    tiles: int
    cut: tuple[int, int] | None = None  # (rows, cols) of tiles, with one more of the whole picture; None: unknown


@dataclass(frozen=True)
class Tiles:
    """The tiles in one run of the vision side, and the order of their tokens in the projector's rows."""

    grids: list[tuple[int, int]]  # (rows, cols) of visual tokens, per tile
    layouts: list[TokenLayout] | None  # of the images; None: found from the prompt or from packing
    order: Tensor | None = None  # (rows,) token of each projector row; None: rows come as (tiles, tokens, dim)
    side: tuple[int, int] | None = None  # (height, width) of a tile in pixels, where the prompt groups them
    lead: int = 0  # rows before each tile's tokens that are always kept (CLS); only without `order`

    @property
    def sizes(self) -> list[int]:
        """Visual tokens per tile."""
        return [rows * cols for rows, cols in self.grids]

    def split(self, rows: Tensor) -> list[Tensor]:
        """Projector rows -> (tokens, dim) per tile, row-major."""
        if self.order is None:
            return list(rows[:, self.lead :])
        return list(torch.split(rows[self._places], self.sizes))

    @cached_property
    def _places(self) -> Tensor:
        """(tokens,) the projector row of each token."""
        assert self.order is not None
        return self.order.argsort()

    def join(self, tiles: Sequence[Tensor], rows: Tensor) -> Tensor:
        """The inverse of `split`; the `lead` rows, which `split` omits, are taken from its `rows`."""
        if self.order is None:
            return torch.cat([rows[:, : self.lead], torch.stack(list(tiles))], dim=1)
        return torch.cat(list(tiles))[self.order]


@dataclass(frozen=True)
class TokenLayout:
    """The visual tokens of one image: the origin of each and the pixels that it covers."""

    tiles: int
    origin: Tensor | None  # (tokens,) tile * tokens per tile + token in the tile, -1 = newline; None: tile after tile
    boxes: Tensor  # (tokens, 4) x0, y0, x1, y1 in seen pixels, see `view`; NaN for newlines
    view: View = field(default_factory=View)
    canvas: tuple[int, int] | None = None  # (width, height) of the boxes' space, if it is the picture stretched

    def placed(self, view: View) -> TokenLayout:
        """The same layout with `view`, which describes how the original was prepared."""
        if self.canvas is None or view.size is None:
            return replace(self, view=view)
        scale = (view.size[0] / self.canvas[0], view.size[1] / self.canvas[1])
        return replace(self, view=replace(view, scale=scale, offset=(0.0, 0.0)))

    def copied(self) -> TokenLayout:
        """The same layout in tensors of its own."""
        origin = None if self.origin is None else self.origin.clone()
        return replace(self, origin=origin, boxes=self.boxes.clone())

    def trace(self, grid: tuple[int, int], chosen: Sequence[Selection | None]) -> ImageTrace:
        """The image after cut 0, from the grid (rows, cols) and the selections of its tiles; None: not cut."""
        per_tile = grid[0] * grid[1]
        tokens = per_tile * self.tiles if self.origin is None else len(self.origin)
        image = ImageTrace(tokens, grid, self.boxes, self.view, [], self.tiles, per_tile, self.origin)
        cut = [one for one in chosen if one is not None]
        if cut:  # the tiles of an image are of one size, so all of them are cut or none is
            image.cuts.append(self.cut(cut, per_tile))
        return image

    def cut(self, chosen: Sequence[Selection], per_tile: int) -> Cut:
        """Cut 0 in the image's own token indices, from the selections of its tiles.

        Newlines are always kept. Kept tokens that the model's packing omits as padding have no index here.
        """
        device = chosen[0].kept.device
        shift = [per_tile * tile for tile in range(len(chosen))]
        kept = torch.cat([one.kept + by for one, by in zip(chosen, shift, strict=True)])
        merged = torch.full((per_tile * len(chosen),), -1, device=device)
        for one, by in zip(chosen, shift, strict=True):
            if one.merged_into is not None:
                target = one.merged_into
                merged[by : by + per_tile] = torch.where(target >= 0, target + by, target)
        labels = {
            name: torch.cat([one.labels[name] + by for one, by in zip(chosen, shift, strict=True)])
            for name in chosen[0].labels
        }
        scores = {name: torch.cat([one.scores[name] for one in chosen]) for name in chosen[0].scores}
        if self.origin is None:
            return Cut(0, kept, labels, merged, scores)
        return self._packed(kept, labels, merged, scores)

    def _packed(self, kept: Tensor, labels: dict[str, Tensor], merged: Tensor, scores: dict[str, Tensor]) -> Cut:
        assert self.origin is not None
        origin = self.origin.to(kept.device)
        newline = origin < 0
        source = origin.clamp(min=0)  # newlines read row 0; the mask overrides it
        stays = torch.zeros_like(merged, dtype=torch.bool).index_fill_(0, kept, True)[source] | newline
        place = torch.full_like(merged, -1)
        place[origin[~newline]] = torch.arange(len(origin), device=kept.device)[~newline]
        target = merged[source].masked_fill(newline, -1)
        return Cut(
            layer=0,
            kept=stays.nonzero()[:, 0],
            labels={name: _present(place[index]) for name, index in labels.items()},
            merged_into=torch.where(target >= 0, place[target.clamp(min=0)], -1),
            scores={name: rows[source].masked_fill(newline, torch.nan) for name, rows in scores.items()},
        )


def _present(index: Tensor) -> Tensor:
    return index[index >= 0].sort().values


def tiled(
    pictures: Sequence[TiledPicture] | None, tiles: int, grid: tuple[int, int], side: tuple[int, int]
) -> list[TokenLayout]:
    """The pictures that make `tiles` tiles of `side` = (height, width) pixels and `grid` = (rows, cols) tokens each.

    pictures: if None, or if their tiles do not add up to `tiles`, every tile is a separate image in its own pixels. A
    longer list (beam search repeats prompts, not pictures) is read only as far as there are tiles.
    """
    found: list[TiledPicture] = []
    for picture in pictures or ():
        if sum(one.tiles for one in found) < tiles:
            found.append(picture)
    if sum(one.tiles for one in found) != tiles:
        found = [TiledPicture(1)] * tiles
    return [_whole(one, grid, *side) for one in found]


def _whole(picture: TiledPicture, grid: tuple[int, int], height: int, width: int) -> TokenLayout:
    each = geometry.patch_boxes(*grid, height, width)
    if picture.cut is None:  # unknown arrangement: boxes are in the pixels of each tile
        canvas = (width, height) if picture.tiles == 1 else None
        return TokenLayout(picture.tiles, None, each.repeat(picture.tiles, 1), canvas=canvas)
    down, across = picture.cut
    size = (down * height, across * width)
    boxes = [geometry.tile_boxes(grid, picture.cut, *size), geometry.patch_boxes(*grid, *size)]
    return TokenLayout(picture.tiles, None, torch.cat(boxes), canvas=(size[1], size[0]))
