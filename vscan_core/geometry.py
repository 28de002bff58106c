"""Index arithmetic on token grids, for methods, families and drawing. Only tensors, no model, no method."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def precise(values: Tensor) -> Tensor:
    """Convert half precision to float32; leave wider types as they are."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def as_written(device: torch.device) -> torch.autocast:
    """A context that turns autocast off, so that scores keep their precision."""
    return torch.autocast(device.type, enabled=False)


def top(scores: Tensor, keep: int) -> Tensor:
    """Indices of the `keep` largest of the last axis, best first; ties go to the lowest index.

    (..., tokens) -> (..., keep). Not torch.topk, whose order among ties is undefined.
    """
    return scores.argsort(dim=-1, descending=True, stable=True)[..., :keep]


def nearest_kept(features: Tensor, kept: Tensor) -> Tensor:
    """For every dropped token, the kept token with the highest cosine similarity; -1 for kept ones.

    features (..., tokens, dim), kept (..., kept) -> (..., tokens) int64. One matrix product, no (dropped, kept, dim)
    tensor. Unit vectors at 0, 10, 90 degrees, kept [0, 2] -> [-1, 0, -1].
    """
    rows = precise(features)
    # the length of a token does not change which kept one is the nearest
    unit = torch.nn.functional.normalize(rows[kept] if rows.dim() == 2 else take(rows, kept), dim=-1)
    nearest = kept.gather(-1, (rows @ unit.transpose(-1, -2)).argmax(dim=-1))
    return nearest.scatter(-1, kept, -1)


def merge(features: Tensor, kept: Tensor, merged_into: Tensor, weight: float = 1.0) -> Tensor:
    """Average every kept token with the dropped tokens that it absorbs.

    features (tokens, dim), kept (kept,), merged_into (tokens,) -> (kept, dim), in the order of `kept`:
    (weight * kept + sum of absorbed) / (weight + number absorbed). Summed in float32 at least.
    Features 1, 3, 5, kept [0], all merged into 0 -> (1 + 3 + 5) / 3 = 3.
    """
    rows = precise(features)
    # tokens that are not merged are added to themselves: no boolean indexing, so no synchronisation
    target = merged_into.where(merged_into >= 0, torch.arange(len(rows), device=rows.device))
    total = torch.zeros_like(rows).index_add_(0, target, rows)[kept]
    count = rows.new_zeros(len(rows)).index_add_(0, target, rows.new_ones(1).expand(len(rows)))[kept, None]
    if weight != 1:
        total, count = total + (weight - 1) * rows[kept], count + (weight - 1)
    return (total / count).to(features.dtype)


def spread(first: Tensor, clash: Tensor, spare: Tensor, keep: int) -> Tensor:
    """Greedily pick the best by `first` that clashes with no earlier pick; if there is none, the best by `spare`.

    first, spare (tokens,), clash (tokens, tokens) bool -> (keep,) indices as picked; ties go to the lowest index.
    Reads one row of `clash` per pick and never synchronises with the device.
    First .9 .8 .7 .1, where 0 and 1 clash; spare = first; keep 3 -> [0, 2, 3]; keep 4 -> [0, 2, 3, 1].
    """
    tokens = len(first)
    places = torch.arange(tokens, 0, -1, device=first.device)
    best, rest = (torch.empty_like(places).scatter_(0, top(scores, tokens), places) for scores in (first, spare))
    best, free = best + tokens, torch.ones_like(places, dtype=torch.bool)
    picks = []
    for _ in range(min(keep, tokens)):
        pick = torch.where(free, best, rest).argmax(keepdim=True)
        free = (free & ~clash.index_select(0, pick)[0]).index_fill(0, pick, False)
        rest = rest.index_fill(0, pick, 0)
        picks.append(pick)
    return torch.cat(picks)


def pool(rows: Tensor, size: Tensor, place: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Average rows (images, tokens, dim), weighted by size (images, tokens), into `count` new rows.

    place (images, tokens): the new row of each -> new rows (images, count, dim) and their sizes (images, count).
    Rows 1, 3, 5 of sizes 1, 1, 2 with places 0, 1, 1 -> 1, (3 + 2 * 5) / 3, of sizes 1, 3.
    """
    wide = precise(rows)
    total = size.new_zeros(len(rows), count).scatter_add_(1, place, size)
    index = place[..., None].expand_as(wide)
    mixed = wide.new_zeros(len(rows), count, wide.shape[-1]).scatter_add_(1, index, wide * size[..., None])
    return (mixed / total[..., None]).to(rows.dtype), total


def outliers(scores: Tensor) -> Tensor:
    """(...) bool: values more than 1.5 interquartile ranges above the third quartile (Tukey's rule).

    0, 1, 2, 3, 9 -> only the 9: quartiles 1 and 3, so above 6.
    """
    values = precise(scores)
    low, high = (torch.quantile(values.flatten(), share) for share in (0.25, 0.75))
    beyond: Tensor = values > high + 1.5 * (high - low)
    return beyond


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def windows(rows: int, cols: int, side: int) -> Tensor:
    """(rows * cols,) int64: the window of each token if the grid is divided into side x side windows, row-major.

    Remaining rows and columns belong to the last window of their row or column; a side of the grid that is
    shorter than `side` is one window. A 4 x 5 grid with side 2 has 2 x 2 windows, the right ones 3 wide.
    The result is remembered: never write to it.
    """
    down, across = max(rows // side, 1), max(cols // side, 1)
    row = (torch.arange(rows) // side).clamp(max=down - 1)
    col = (torch.arange(cols) // side).clamp(max=across - 1)
    return (row[:, None] * across + col[None, :]).flatten()


class Windows:
    """The windows of tokens, `of` (tokens,), and what ranking inside them needs of it, known to the host."""

    def __init__(self, of: Tensor, device: torch.device) -> None:
        self.sizes: list[int] = torch.bincount(of).tolist()
        self.device, longest = device, max(self.sizes)
        places = torch.cat([torch.arange(size) for size in self.sizes])
        by_window = of.argsort(stable=True)
        # (windows, longest) their tokens, ascending; places that a smaller window lacks hold the number of tokens
        members = torch.full((len(self.sizes), longest), len(of))
        members[of[by_window], places] = by_window
        self.members, self.padded = members.to(device), min(self.sizes) < longest
        self.ranks = torch.arange(longest).where(members < len(of), longest).flatten()
        self._ranked: dict[tuple[int, int], Tensor] = {}

    @classmethod
    @lru_cache(maxsize=32)
    @torch.inference_mode(False)
    def of_grid(cls, rows: int, cols: int, side: int, device: torch.device) -> Windows:
        """Those of `windows`, made once."""
        return cls(windows(rows, cols, side), device)

    def order(self, scores: Tensor) -> Tensor:
        """scores (..., tokens) -> (..., windows * longest) indices, window by window, best first, ties by the lowest.

        Places that a window lacks come last in it; `ranked` leaves them out.
        """
        table = torch.nn.functional.pad(scores, (0, 1), value=-torch.inf) if self.padded else scores
        table = table.index_select(-1, self.members.flatten()).view(*table.shape[:-1], *self.members.shape)
        order = table.argsort(dim=-1, descending=True, stable=True)
        return self.members.expand_as(order).gather(-1, order).flatten(-2)

    @torch.inference_mode(False)
    def ranked(self, start: int, stop: int) -> Tensor:
        """(n,) where in the result of `order` the tokens ranked `start` to `stop` - 1 in their window are; made once.

        0 is the best of a window.
        """
        if (start, stop) not in self._ranked:
            found = ((self.ranks >= start) & (self.ranks < stop)).nonzero()[:, 0]
            self._ranked[start, stop] = found.to(self.device)
        return self._ranked[start, stop]


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def patch_boxes(rows: int, cols: int, height: float, width: float) -> Tensor:
    """(rows * cols, 4) x0, y0, x1, y1 of a grid of equal patches over height x width pixels, row-major.

    The result is remembered: never write to it.
    """
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    unit = torch.stack([x, y, x + 1, y + 1], dim=-1).view(-1, 4).float()
    return unit * torch.tensor([width / cols, height / rows, width / cols, height / rows])


def tile_boxes(grid: tuple[int, int], cut: tuple[int, int], height: float, width: float) -> Tensor:
    """(tokens, 4) boxes in height x width pixels divided into equal tiles, `cut` = (rows, cols), row by row.

    Tile after tile, each with a `grid` = (rows, cols) of tokens, row-major.
    """
    (rows, cols), (down, across) = grid, cut
    boxes = patch_boxes(down * rows, across * cols, height, width)
    return boxes.view(down, rows, across, cols, 4).transpose(1, 2).reshape(-1, 4)


def take(rows: Tensor, index: Tensor) -> Tensor:
    """Gather along the second axis: rows (batch or 1, length, ...), index (batch, n) -> (batch, n, ...)."""
    if len(rows) == len(index) == 1:
        return rows.index_select(1, index[0])
    rows = rows.expand(index.shape[0], *rows.shape[1:])
    shape = (*index.shape, *([1] * (rows.dim() - 2)))
    return rows.gather(1, index.view(shape).expand(*index.shape, *rows.shape[2:]))
