"""How LLaVA-NeXT and LLaVA-OneVision pack the tiles of a picture into one row of tokens, from its size alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import isqrt
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape, image_size_to_num_patches

from vscan_core.errors import InputError
from vscan_core.families.tiles import TokenLayout
from vscan_core.geometry import patch_boxes, tile_boxes
from vscan_core.regions import Region
from vscan_core.trace import View

POOLED = (
    "LLaVA-OneVision pools this picture, because it has too many tiles; scale it to at most {side} pixels in width and "
    "height"
)


class Tiling(NamedTuple):
    """What the packing reads of a configuration; lengths in pixels."""

    arrangements: tuple[tuple[int, ...], ...]  # (height, width) of each that is allowed
    side: int  # of a tile
    patch: int

    @classmethod
    def of(cls, config: Any) -> Tiling:
        """That of a transformers configuration."""
        vision = config.vision_config
        return cls(tuple(map(tuple, config.image_grid_pinpoints)), vision.image_size, vision.patch_size)

    def tiles(self, size: tuple[int, int]) -> tuple[int, int]:
        """(rows, cols) of the tiles of a picture of `size` (height, width); one more shows the whole picture."""
        rows, cols = get_anyres_image_grid_shape(size, [list(one) for one in self.arrangements], self.side)
        return int(rows), int(cols)


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def packed(
    pack: Callable[..., Any], tiling: Tiling, size: tuple[int, int], cut: bool = True, pooling: str = ""
) -> TokenLayout:
    """The visual tokens of a picture of `size` (height, width), in pixels; remembered: its tensors are shared.

    pack: the method of transformers that packs tiles. Numbered rows run through it, so that no code is duplicated; it
    reads nothing of its model but the configuration. cut: whether the picture is cut into tiles, or is one, for which
    it is padded to a square. pooling: the model's `vision_aspect_ratio`, if it has one. Raises InputError for a picture
    that the model would pool.
    """
    vision = SimpleNamespace(image_size=tiling.side, patch_size=tiling.patch)
    arrangements, tokens = [list(one) for one in tiling.arrangements], tiling.side // tiling.patch
    config = SimpleNamespace(vision_config=vision, image_grid_pinpoints=arrangements)
    tiles = image_size_to_num_patches(size, arrangements, tiling.side) if cut else 1
    numbered = torch.arange(tiles * tokens**2, dtype=torch.float64).view(tiles, tokens**2, 1)
    newline = torch.full((1,), -1.0, dtype=torch.float64)
    options = {"vision_aspect_ratio": pooling} if pooling else {"vision_feature_select_strategy": "default"}
    (numbers,), _ = pack(SimpleNamespace(config=config), [numbered], [size], image_newline=newline, **options)
    if not torch.equal(numbers, numbers.round()):  # pooling has mixed the numbers of several tokens
        raise InputError(POOLED.format(side=isqrt(int(pooling.removeprefix("anyres_max_"))) * tiling.side))
    return _layout(tiling, size, tiles, numbers[:, 0].long())


def _layout(tiling: Tiling, size: tuple[int, int], tiles: int, origin: Tensor) -> TokenLayout:
    height, width = size
    tokens = tiling.side // tiling.patch
    if tiles == 1:
        side = max(size)
        left, top = (side - width) // 2, (side - height) // 2
        boxes = patch_boxes(tokens, tokens, side, side) - torch.tensor([left, top, left, top])
    else:  # tile 0: the whole picture, stretched to a square
        boxes = patch_boxes(tokens, tokens, height, width)
        boxes = torch.cat([boxes, _grid_boxes(tokens, *tiling.tiles(size), height, width)])
    boxes = boxes[origin.clamp(min=0)]
    boxes[origin < 0] = torch.nan
    inside = [origin[origin // tokens**2 == tile] % tokens**2 for tile in range(tiles)]
    regions = tuple(Region.of(one, (tokens, tokens)) for one in inside)
    view = View(size=(width, height))
    return TokenLayout(tiles, origin, boxes, view, canvas=(width, height), regions=regions if any(regions) else ())


def _grid_boxes(side: int, rows: int, cols: int, height: int, width: int) -> Tensor:
    """(rows * cols * side * side, 4): boxes of the grid's tokens, tile by tile, in original pixels.

    The picture was scaled to fit the grid and centred on it; the padding is outside the picture.
    """
    down, across = rows * side, cols * side  # tokens
    scale = max(height / down, width / across)  # original pixels per token
    top, left = (down * scale - height) / 2, (across * scale - width) / 2
    return tile_boxes((side, side), (rows, cols), down, across) * scale - torch.tensor([left, top, left, top])
