"""Try a method on made-up signals before a request is accepted: what fails here would have ended the engine.

Settings may be of the right kind and still fail, such as a seed that no generator takes.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from vscan_core.errors import InputError, first_line
from vscan_core.reducers import Reducer
from vscan_core.selection import Anatomy, Signals
from vscan_core.serving import reduce_tiles

MADE_UP_DIM, MADE_UP_HEADS = 64, 4
LARGEST = 24  # rows and columns of tokens; larger pictures are tried at this size, because time grows with its square


@lru_cache(maxsize=1024)
def rehearse(reducer: Reducer, grid: tuple[int, int], tile: int, frames: int, anatomy: Anatomy) -> None:
    """Raise InputError, in one sentence, if the method fails on a tile, `grid` = (rows, cols) of whose tokens it sees.

    tile: tokens of the whole tile, padding included. frames: of a video; 0: a picture. Remembered for every size.
    """
    rows, cols = (min(side, LARGEST) for side in grid)
    tokens = rows * cols
    keep = reducer.at_entrance(tokens if tile == grid[0] * grid[1] else tile, anatomy)
    if keep is None:
        return
    keep = min(keep, tokens)
    signals = _signals(max(1, frames), (rows, cols), frames > 0, reducer, anatomy)
    try:
        _, kept = reduce_tiles(reducer, signals, keep, anatomy, _unchanged)
    except InputError:
        raise
    except Exception as error:  # whatever it is, it would be the same in the worker
        raise InputError(f"{reducer.title} cannot run with these settings: {first_line(error)}") from error
    if sum(map(len, kept)) != keep * len(kept):
        raise InputError(f"{reducer.title} with these settings keeps another number of tokens than it says")


def _signals(tiles: int, grid: tuple[int, int], video: bool, reducer: Reducer, anatomy: Anatomy) -> Signals:
    make, tokens, needs = torch.Generator().manual_seed(0), grid[0] * grid[1], reducer.needs(anatomy)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(tiles, *shape, generator=make)

    received = {layer: drawn(tokens).softmax(-1) for layer in (*needs.received, *needs.cls_attention)}
    of_cls = needs.cls_attention if anatomy.has_cls else ()
    return Signals(
        features=drawn(tokens, MADE_UP_DIM) if anatomy.has_cls else None,
        projected=drawn(tokens, MADE_UP_DIM),
        cls_attention={layer: drawn(MADE_UP_HEADS, tokens).softmax(-1) for layer in of_cls},
        received=received,
        keys=drawn(tokens, MADE_UP_DIM) if needs.keys else None,
        grid=grid,
        video=video,
    )


def _unchanged(rows: Tensor) -> Tensor:
    return rows
