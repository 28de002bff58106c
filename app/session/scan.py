"""What a browser needs to repeat VScan's first cut at any retention: ranks, and the numbers of the rule."""

from __future__ import annotations

from typing import Any

from vscan_core.draw.map_data import ranks_of
from vscan_core.engine.preview import VisionPreview
from vscan_core.reducers.base import Reducer
from vscan_core.reducers.vscan import CLS_WINDOW, RECEIVED_WINDOW, VScan
from vscan_core.regions import Region
from vscan_core.selection import Anatomy, Signals


def scan_data(vision: VisionPreview, reducer: Reducer, anatomy: Anatomy) -> dict[str, Any] | None:
    """JSON-able numbers of both scans, tile by tile; None for another method, or VScan with settings of its own.

    grid, origin (see `ImageTrace`), tiles of local and global ranks, 1 = best (ranks decide, so nothing is lost), where
    a tile is partly padding only of its `region`; capped (no CLS token), window, share, layers, layer of the later cut.
    """
    if type(reducer) is not VScan or reducer != VScan(retention=reducer.retention):
        return None
    grid, origin = vision.tiles[0].grid, vision.token_layout.origin
    assert grid is not None
    regions = vision.token_layout.regions or [None] * len(vision.tiles)
    capped = not vision.tiles[0].cls_attention
    return {
        "grid": list(grid),
        "origin": None if origin is None else origin.tolist(),
        "tiles": [_ranks(tile, region, reducer) for tile, region in zip(vision.tiles, regions, strict=True)],
        "capped": capped,
        "window": RECEIVED_WINDOW if capped else CLS_WINDOW,
        "share": reducer.local_share,
        "layers": anatomy.text_layers,
        "later": reducer.later_cut(anatomy),
    }


def _ranks(tile: Signals, region: Region | None, reducer: VScan) -> dict[str, Any]:
    """Of the tokens of one tile, or of the region that is no padding."""
    if region is not None and not region.tokens:
        return {"region": list(region), "local": [], "global": []}
    seen = tile if region is None else region.only(tile.as_tiles()).each()[0]
    scores = reducer.select(seen, seen.tokens).scores  # all tokens: nothing has to be chosen
    ranks: dict[str, Any] = {name: ranks_of(scores[name]) for name in ("local", "global")}
    return ranks if region is None else {**ranks, "region": list(region)}
