"""LLaVA-NeXT (1.6): the picture and its grid of tiles, each as in LLaVA-1.5, packed without padding, with newlines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.models.llava_next.modeling_llava_next import (
    get_anyres_image_grid_shape,
    image_size_to_num_patches,
)

from vscan_core.dummies.processors import cropped
from vscan_core.dummies.shapes import SMALL_TEXT, Decoder, Ids, Shape, small_tower
from vscan_core.families.entries import HubModel, SmallModel
from vscan_core.families.llava import (
    CLIP,
    DEFAULTS_7B,
    DEFAULTS_13B,
    VICUNA_7B,
    VICUNA_13B,
    Llava,
    clip_and_llama,
    clip_processor,
)
from vscan_core.families.method_hook import MethodHook
from vscan_core.families.remembered import Remembered
from vscan_core.families.tiles import Tiles, TokenLayout
from vscan_core.geometry import patch_boxes, tile_boxes
from vscan_core.trace import View

_layouts = Remembered()
GRIDS = {"image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]}
MISTRAL_7B = Decoder(4096, 32, 32, 8, 14336, 32064)


class LlavaNext(Llava):
    """`LlavaNextForConditionalGeneration`. Cut 0 treats every tile separately, later cuts the whole picture.

    Published settings: those of LLaVA-1.5, with its budget for every tile. One difference from the released script,
    where the later cut considers only the first tile and uses one of its visual tokens as the query.
    """

    model_type = "llava_next"
    title = "LLaVA-NeXT"
    hub_models: tuple[HubModel, ...] = (
        HubModel("llava-hf/llava-v1.6-vicuna-7b-hf", "LLaVA-NeXT 7B (Vicuna)", "LLaVA-NeXT with Vicuna 7B", 7.06,
                 "Llama 2", "llava-next-vicuna-7b", Shape(CLIP, VICUNA_7B, GRIDS), DEFAULTS_7B),
        HubModel("llava-hf/llava-v1.6-mistral-7b-hf", "LLaVA-NeXT 7B (Mistral)", "LLaVA-NeXT with Mistral 7B", 7.57,
                 "Apache-2.0", "llava-next-mistral-7b", Shape(CLIP, MISTRAL_7B, GRIDS), DEFAULTS_7B),
        HubModel("llava-hf/llava-v1.6-vicuna-13b-hf", "LLaVA-NeXT 13B (Vicuna)", "LLaVA-NeXT with Vicuna 13B", 13.35,
                 "Llama 2", "llava-next-vicuna-13b", Shape(CLIP, VICUNA_13B, GRIDS), DEFAULTS_13B),
    )  # fmt: skip
    small_models = (SmallModel("llava-next-small", "LLaVA-NeXT", 59, Shape(small_tower(336, 14), SMALL_TEXT, GRIDS)),)

    def tiles(self, model: nn.Module, tower: Any, args: Any, kwargs: Any) -> Tiles:
        """The tiles of all pictures; `hook_packing` finds out which of them belong together."""
        return replace(super().tiles(model, tower, args, kwargs), layouts=None)

    def tiles_in_rows(self, model: nn.Module, ids: Tensor, per_tile: int, image_sizes: Any) -> list[int] | None:
        """A picture is a run of placeholders; its size says how many tiles it has."""
        config: Any = model.config
        visual = pad(ids == self.image_token_id(model), (1, 0))
        pictures: list[int] = (visual[:, 1:] & ~visual[:, :-1]).sum(1).tolist()
        if image_sizes is None or sum(pictures) != len(image_sizes):
            return None
        side, grids = config.vision_config.image_size, config.image_grid_pinpoints
        rows = image_sizes.tolist() if torch.is_tensor(image_sizes) else image_sizes
        tiles = iter([image_size_to_num_patches([int(length) for length in size], grids, side) for size in rows])
        return [sum(islice(tiles, count)) for count in pictures]

    def hook_packing(self, model: nn.Module, record: Callable[[Callable[[], list[TokenLayout]]], None]) -> list[Any]:
        """Run numbered rows through the model's own packing beside the features, so that no code is duplicated."""

        def packing(pack: Any, image_features: Sequence[Tensor], image_sizes: Any, *args: Any, **kwargs: Any) -> None:
            def token_layouts() -> list[TokenLayout]:
                config: Any = model.config
                shapes = [tuple(features.shape[:2]) for features in image_features]
                rows = image_sizes.tolist() if torch.is_tensor(image_sizes) else image_sizes
                sizes = [tuple(int(side) for side in size) for size in rows]
                options = {name: value for name, value in kwargs.items() if name != "image_newline"}

                def made() -> list[TokenLayout]:
                    newline = torch.full((1,), -1.0, dtype=torch.float64)
                    numbered = [_numbers(*shape) for shape in shapes]
                    origins, _ = pack(numbered, image_sizes, *args, **options, image_newline=newline)
                    tiles = [shape[0] for shape in shapes]
                    return [self._token_layout(model, *one) for one in zip(tiles, origins, sizes, strict=True)]

                key = repr((shapes, sizes, args, options, config.image_grid_pinpoints))
                known: list[TokenLayout] = _layouts.get(model, key, made)
                return known

            record(token_layouts)

        return [MethodHook(self.base(model), "pack_image_features", packing)]

    def _token_layout(self, model: nn.Module, tiles: int, numbers: Tensor, size: tuple[int, ...]) -> TokenLayout:
        config: Any = model.config
        height, width = size
        origin = numbers[:, 0].long()
        side = config.vision_config.image_size // config.vision_config.patch_size
        rows, cols = (1, 1)
        if tiles > 1:
            rows, cols = get_anyres_image_grid_shape(size, config.image_grid_pinpoints, config.vision_config.image_size)
        whole = patch_boxes(side, side, height, width)  # tile 0: the whole picture, resized to a square
        grid = _grid_boxes(side, rows, cols, height, width)
        boxes = torch.cat([whole, grid])[origin.clamp(min=0)] if tiles > 1 else whole[origin.clamp(min=0)]
        boxes[origin < 0] = torch.nan
        return TokenLayout(
            tiles=tiles, origin=origin, boxes=boxes, view=View(size=(width, height)), canvas=(width, height)
        )

    def dummy_config(self, shape: Shape, ids: Ids) -> Any:
        """That of LLaVA-1.5, with the grids of tiles."""
        return transformers.LlavaNextConfig(**clip_and_llama(shape, ids), vision_feature_layer=-2, **shape.extra)

    def dummy_processor(self, shape: Shape, tokenizer: Any) -> Any:
        """Pictures are divided into tiles."""
        return transformers.LlavaNextProcessor(
            transformers.LlavaNextImageProcessorPil(**cropped(shape), **shape.extra),
            tokenizer,
            **clip_processor(shape),
        )


def _numbers(tiles: int, tokens: int) -> Tensor:
    """(tiles, tokens, 1): the number of each row of the tiles."""
    return torch.arange(tiles * tokens, dtype=torch.float64).view(tiles, tokens, 1)


def _grid_boxes(side: int, rows: int, cols: int, height: int, width: int) -> Tensor:
    """(rows * cols * side * side, 4): boxes of the grid's tokens, tile by tile, in original pixels.

    The picture was scaled to fit the grid and centred on it; the padding is outside the picture.
    """
    down, across = rows * side, cols * side  # tokens
    scale = max(height / down, width / across)  # original pixels per token
    top, left = (down * scale - height) / 2, (across * scale - width) / 2
    return tile_boxes((side, side), (rows, cols), down, across) * scale - torch.tensor([left, top, left, top])
