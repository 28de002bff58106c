"""What a browser needs to repeat VScan's first cut at any retention: ranks, and the numbers of the rule."""

from __future__ import annotations

from typing import Any

from vscan_core.draw.map_data import ranks_of
from vscan_core.engine.preview import VisionPreview
from vscan_core.reducers.base import Reducer
from vscan_core.reducers.vscan import CLS_WINDOW, RECEIVED_WINDOW, VScan
from vscan_core.selection import Anatomy


def scan_data(vision: VisionPreview, reducer: Reducer, anatomy: Anatomy) -> dict[str, Any] | None:
    """JSON-able numbers of both scans, tile by tile; None for another method, or VScan with settings of its own.

    grid, origin (see `ImageTrace`), tiles of local and global ranks, 1 = best (ranks decide, so nothing is lost);
    capped (no CLS token), window, share, layers and the later cut's layer.
    """
    if type(reducer) is not VScan or reducer != VScan(retention=reducer.retention):
        return None
    grid, origin = vision.tiles[0].grid, vision.token_layout.origin
    assert grid is not None
    tokens = grid[0] * grid[1]
    scores = [reducer.select(tile, tokens).scores for tile in vision.tiles]  # all tokens: nothing has to be chosen
    capped = not vision.tiles[0].cls_attention
    return {
        "grid": list(grid),
        "origin": None if origin is None else origin.tolist(),
        "tiles": [{name: ranks_of(rows[name]) for name in ("local", "global")} for rows in scores],
        "capped": capped,
        "window": RECEIVED_WINDOW if capped else CLS_WINDOW,
        "share": reducer.local_share,
        "layers": anatomy.text_layers,
        "later": anatomy.text_layers // 2,
    }
