"""How the tiles of one image in the vision encoder become its visual tokens in the LLM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from vscan_core.regions import Region
from vscan_core.selection import Selection
from vscan_core.trace import Cut, ImageTrace, View


@dataclass(frozen=True)
class TiledPicture:
    """A picture that the vision encoder sees as tiles."""

    tiles: int
    cut: tuple[int, int] | None = None  # (rows, cols) of tiles, with one more of the whole picture; None: unknown
    video: bool = False  # whether the tiles are its frames, which all show the same area


PerTile = Tensor | tuple[Tensor, ...]  # (tiles, tokens, ...), or (tokens, ...) of each where their sizes differ


def picked(parts: PerTile | None, places: Sequence[int]) -> Any:
    """(places, tokens, ...) of the tiles at `places`, of one size; not copied if these are all. Of None, None."""
    if parts is None or (isinstance(parts, Tensor) and len(places) == len(parts)):
        return parts
    return parts[places[0]][None] if len(places) == 1 else torch.stack([parts[i] for i in places])


@dataclass(frozen=True)
class Tiles:
    """The tiles in one run of the vision side, and the order of their tokens in the projector's rows."""

    grids: list[tuple[int, int]]  # (rows, cols) of visual tokens, per tile
    layouts: list[TokenLayout] | None  # of the images; None: found from the prompt
    places: Tensor | None = None  # (tokens,) projector row of each token; None: rows come as (tiles, tokens, dim)
    side: tuple[int, int] | None = None  # (height, width) of a tile in pixels, where the prompt groups them
    lead: int = 0  # rows before each tile's tokens that are always kept (CLS); only without `places`
    pool: Callable[[Tensor], Tensor] | None = None  # (tiles, rows, n) -> (tiles, tokens, n) after the projector

    def regions(self, places: Sequence[int]) -> list[Region | None]:
        """Where the picture lies in the tiles at `places`; None, and [] for all of them: everywhere."""
        if self.layouts is None or not any(layout.regions for layout in self.layouts):
            return []
        found = [one for layout in self.layouts for one in layout.regions or [None] * layout.tiles]
        return [found[place] for place in places]

    def inside(self, device: torch.device) -> list[Tensor | None]:
        """The tokens of each tile that show the picture; None: all."""
        regions = self.regions(range(len(self.grids))) or [None] * len(self.grids)
        return [
            None if one is None else one.indices(cols, device)
            for one, (_, cols) in zip(regions, self.grids, strict=True)
        ]

    @property
    def sizes(self) -> list[int]:
        """Visual tokens per tile."""
        return [rows * cols for rows, cols in self.grids]

    def split(self, rows: Tensor) -> PerTile:
        """Projector rows -> the tokens of each tile, row-major."""
        if self.places is None:
            return rows[:, self.lead :] if self.pool is None else self.pool(rows)
        rows, sizes = rows.index_select(0, self.places), self.sizes
        return rows.view(len(sizes), -1, *rows.shape[1:]) if len(set(sizes)) == 1 else torch.split(rows, sizes)

    def pooled_numbers(self, rows: Tensor) -> Tensor:
        """Numbers of the projector's rows (tiles, ..., rows) -> of the tokens, if these are pooled from several."""
        return rows if self.pool is None else self.pool(rows[..., None])[..., 0]

    def write(self, tokens: Tensor, values: Tensor, rows: Tensor | None = None) -> Tensor:
        """All projector rows: values (n, dim) at `tokens` (n,), which are counted over all tiles, and -inf at others.

        rows: what the projector returned, of the same shape and with `lead` rows to keep; None: only values.
        """
        shape = (len(self.sizes), self.sizes[0], values.shape[-1]) if rows is None else rows.shape
        out = values.new_full(shape, -torch.inf)
        if self.places is not None:
            tokens = self.places[tokens]
        if self.lead and rows is not None:
            out[:, : self.lead] = rows[:, : self.lead]
            tokens = tokens + (tokens // self.sizes[0] + 1) * self.lead
        out.flatten(0, -2).index_copy_(0, tokens, values)
        return out


@dataclass(frozen=True)
class TokenLayout:
    """The visual tokens of one image: the origin of each and the pixels that it covers; its tensors are shared."""

    tiles: int
    origin: Tensor | None  # (tokens,) tile * tokens per tile + token in the tile, -1 = newline; None: tile after tile
    boxes: Tensor  # (tokens, 4) x0, y0, x1, y1 in seen pixels, see `view`; NaN for newlines
    view: View = field(default_factory=View)
    canvas: tuple[int, int] | None = None  # (width, height) of the boxes' space, if it is the picture stretched
    regions: tuple[Region | None, ...] = ()  # of each tile, where the image's tokens lie; (): there is no padding
    # made once for all copies of a layout
    _packings: dict[tuple[int, torch.device], _Packing] = field(default_factory=dict, repr=False, compare=False)

    def placed(self, view: View) -> TokenLayout:
        """The same layout with `view`, which describes how the original was prepared."""
        if self.canvas is None or view.size is None:
            return replace(self, view=view)
        scale = (view.size[0] / self.canvas[0], view.size[1] / self.canvas[1])
        return replace(self, view=replace(view, scale=scale, offset=(0.0, 0.0)))

    def trace(self, grid: tuple[int, int], chosen: Sequence[Selection | None]) -> ImageTrace:
        """The image after cut 0, from the grid (rows, cols) and the selections of its tiles; None: not cut."""
        per_tile = grid[0] * grid[1]
        tokens = per_tile * self.tiles if self.origin is None else len(self.origin)
        origin = None if self.origin is None else self.origin.clone()  # a trace belongs to its reader
        image = ImageTrace(tokens, grid, self.boxes.clone(), self.view, [], self.tiles, per_tile, origin)
        cut = [one for one in chosen if one is not None]
        if cut:  # the tiles of an image are of one size, so all of them are cut or none is
            image.cuts.append(self.cut(cut, per_tile))
        return image

    def cut(self, chosen: Sequence[Selection], per_tile: int) -> Cut:
        """Cut 0 in the image's own token indices, from the selections of its tiles.

        Newlines are always kept. Kept tokens that the model's packing omits as padding have no index here.
        """
        sizes = [per_tile] * len(chosen)
        kept, merged = joined([one.kept for one in chosen], sizes), joined_merges(chosen, sizes)
        if merged is None:
            merged = torch.full((sum(sizes),), -1, device=kept.device)
        names = chosen[0].labels
        labels = {name: joined([one.labels[name] for one in chosen], sizes) for name in names}
        scores = {name: _cat([one.scores[name] for one in chosen]) for name in chosen[0].scores}
        if self.origin is None:
            return Cut(0, kept, labels, merged, scores)
        return self._packed(kept, labels, merged, scores)

    def _packed(self, kept: Tensor, labels: dict[str, Tensor], merged: Tensor, scores: dict[str, Tensor]) -> Cut:
        """The cut of the tiles' tokens in the order of the image's, which may lack some of them and has newlines."""
        packing = self._packing(len(merged), kept.device)
        origin, place = packing.origin, packing.place
        if packing.complete:
            stays = torch.cat([place[kept], packing.newlines]).sort().values
        else:
            kept_here = torch.zeros_like(merged, dtype=torch.bool).index_fill_(0, kept, True)
            stays = pad(kept_here, (0, 1), value=True)[origin].nonzero()[:, 0]
        return Cut(
            layer=0,
            kept=stays,
            labels={name: packing.placed(index) for name, index in labels.items()},
            merged_into=place[pad(merged, (0, 1), value=-1)[origin]],
            scores={name: pad(rows, (0, 1), value=torch.nan)[origin] for name, rows in scores.items()},
        )

    def _packing(self, tokens: int, device: torch.device) -> _Packing:
        if (tokens, device) not in self._packings:
            assert self.origin is not None
            with torch.inference_mode(False):
                self._packings[tokens, device] = _Packing(self.origin.cpu(), tokens, device)
        return self._packings[tokens, device]


Arrange = Callable[[Tiles], Tiles]  # tiles with what the arguments of the call around the tower show


class _Packing:
    """Where the tokens of tiles are in an image; -1 in any of these tables finds what the last place of a table holds.

    origin: (image's tokens,) as in TokenLayout. newlines: where it is -1. place: (tiles' tokens + 1,) its inverse, -1
    for tokens that the image lacks, and at last for none. complete: the image lacks no token.
    """

    def __init__(self, origin: Tensor, tokens: int, device: torch.device) -> None:
        patches = (origin >= 0).nonzero()[:, 0]
        place = torch.full((tokens + 1,), -1)
        place[origin[patches]] = patches
        newlines = (origin < 0).nonzero()[:, 0]
        self.origin, self.place, self.newlines = origin.to(device), place.to(device), newlines.to(device)
        self.complete = len(patches) == tokens

    def placed(self, index: Tensor) -> Tensor:
        """Tokens of the tiles -> those of the image, ascending."""
        found = self.place[index]
        return (found if self.complete else found[found >= 0]).sort().values


def joined(indices: Sequence[Tensor], sizes: Sequence[int], gaps: bool = False) -> Tensor:
    """Indices into the tokens of each tile, of `sizes`, as indices into those of all tiles; gaps: -1 stays -1.

    [0, 2], [1, 3] with sizes 4, 4 -> [0, 2, 5, 7].
    """
    if len(indices) == 1:
        return indices[0]
    every = torch.cat(list(indices))
    moved = every + _tokens_before(tuple(len(one) for one in indices), tuple(sizes), every.device)
    return moved.where(every >= 0, -1) if gaps else moved


def joined_merges(chosen: Sequence[Selection], sizes: Sequence[int]) -> Tensor | None:
    """Where the tokens of all tiles merge, as `joined`; None if none does."""
    if all(one.merged_into is None for one in chosen):
        return None
    merges = [
        torch.full((size,), -1, device=one.kept.device) if one.merged_into is None else one.merged_into
        for one, size in zip(chosen, sizes, strict=True)
    ]
    return joined(merges, sizes, gaps=True)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _tokens_before(counts: tuple[int, ...], sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """(sum of counts,) how many tokens lie before the tile of each index; made once for all pictures of a kind."""
    first = torch.tensor([0, *sizes[:-1]]).cumsum(0)
    return first.repeat_interleave(torch.tensor(counts)).to(device)


def _cat(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
