"""Cut 0 as plain tensors: signals and a reducer -> the rows that enter the LLM. No model, no hooks, no state.

The hooks of this library and engines with model classes of their own share these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.errors import InputError
from vscan_core.families.tiles import PerTile, joined, joined_merges
from vscan_core.reducers.base import Reducer
from vscan_core.regions import Region
from vscan_core.selection import Anatomy, Selection, Signals


def choose_tiles(reducer: Reducer, tiles: Signals, keep: int, regions: Sequence[Region | None] = ()) -> list[Selection]:
    """The choice of `keep` tokens of each tile, in full precision also under autocast; `tiles` is the first axis.

    regions: where the picture lies in each tile, the rest of which is padding; (): everywhere.
    """
    with geometry.as_written(tiles.device):
        return reducer.select_in_regions(tiles, keep, regions)


def kept_rows(chosen: Sequence[Selection | None], features: PerTile) -> tuple[Tensor, Tensor]:
    """The kept tokens (kept,) of all tiles, counted over all of them, and their rows (kept, dim), merged as chosen.

    features: the rows of each tile; of a tile whose selection is None, all stay.
    """
    sizes = [len(rows) for rows in features]
    device = next(one.kept.device for one in chosen if one is not None)
    made = [
        Selection(torch.arange(size, device=device)) if one is None else one
        for one, size in zip(chosen, sizes, strict=True)
    ]
    kept, merged = joined([one.kept for one in made], sizes), joined_merges(made, sizes)
    if any(one.mix is not None for one in made):
        return kept, torch.cat([one.apply(rows) for one, rows in zip(made, features, strict=True)])
    if merged is None and torch.is_tensor(features):  # the rows of some towers do not follow one another in memory
        return kept, features[kept // sizes[0], kept % sizes[0]] if len(sizes) > 1 else features[0][kept]
    rows = features.flatten(0, 1) if torch.is_tensor(features) else torch.cat(features)
    return kept, Selection(kept, merged_into=merged).apply(rows)


def reduce_tiles(
    reducer: Reducer,
    tiles: Signals,
    keep: int,
    anatomy: Anatomy,
    project: Callable[[Tensor], Tensor],
    regions: Sequence[Region | None] = (),
) -> tuple[list[Selection], list[Tensor]]:
    """Cut 0 of tiles of one grid: for each, what is kept, and the rows (kept, dim_llm) that enter the LLM.

    tiles: signals whose first axis is the tiles (`Signals.as_tiles` of a picture that is one tile): `features`,
    `projected` or both, and what `reducer.demands(anatomy).needs` names. keep: `reducer.at_entrance(tokens, anatomy)`;
    None there means that all tokens enter, and this function is not needed. project: the model's projector, rows
    (..., dim) -> (..., dim_llm). It gets the kept rows alone, merged, unless the method needs projected features, which
    are then merged instead; `tiles` without `features` hold them already. regions: where the picture lies in each
    tile, as in `TokenLayout.regions`. Raises InputError for a method that merges inside the vision encoder, or refuses
    these tiles.
    """
    needs = reducer.needs(anatomy)
    if needs.blocks:
        raise InputError(f"{reducer.title} merges tokens inside the vision encoder, so signals alone do not suffice")
    if needs.projected and tiles.projected is None:
        assert tiles.features is not None
        tiles = replace(tiles, projected=project(tiles.features))
    chosen = choose_tiles(reducer, tiles.seen_by(needs), keep, regions)
    early = None if needs.projected else tiles.features
    rows = tiles.projected if early is None else early
    assert rows is not None
    _, rows = kept_rows(chosen, rows)
    if early is not None:
        rows = project(rows)
    return chosen, list(torch.split(rows, [len(one.kept) for one in chosen]))
