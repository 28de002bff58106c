"""LLaVA-NeXT (1.6): the picture and its grid of tiles, each as in LLaVA-1.5, packed without padding, with newlines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from itertools import islice
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel, image_size_to_num_patches

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
from vscan_core.families.packing import Tiling, packed
from vscan_core.families.tiles import Arrange, Tiles, TokenLayout

GRIDS = {"image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]}
MISTRAL_7B = Decoder(4096, 32, 32, 8, 14336, 32064)


class LlavaNext(Llava):
    """`LlavaNextForConditionalGeneration`. Cut 0 treats every tile separately, later cuts the whole picture.

    Published settings: those of LLaVA-1.5, with its budget for every tile. Two differences from the released code: its
    script's later cut considers only the first tile and uses one of its visual tokens as the query; and a tile's budget
    is spent on what it shows of the picture, not on its padding, so that how many tokens enter the LLM depends on the
    size of the picture alone.
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
        """The tiles of all pictures; `hook_arrangement` tells which of them belong together."""
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

    def hook_arrangement(self, model: nn.Module, record: Callable[[Arrange], None]) -> list[Any]:
        """Hook the method that calls the tower, because only its arguments show the sizes of the pictures."""

        def encoded(call: Any, pixel_values: Any, image_sizes: Any, *args: Any, **kwargs: Any) -> None:
            def arrange(tiles: Tiles) -> Tiles:
                rows = image_sizes.tolist() if torch.is_tensor(image_sizes) else image_sizes
                given = signature(call).bind(pixel_values, image_sizes, *args, **kwargs).arguments
                sizes = [(int(height), int(width)) for height, width in rows]
                return replace(tiles, layouts=self._layouts_of(model.config, sizes, given))

            record(arrange)

        return [MethodHook(self.base(model), "get_image_features", encoded)]

    def _layouts_of(self, config: Any, sizes: Sequence[tuple[int, int]], given: Mapping[str, Any]) -> list[TokenLayout]:
        """Of each picture, from its (height, width) and the other arguments of the model's call."""
        return [self.picture_layout(config, *size) for size in sizes]

    def picture_layout(self, config: Any, height: int, width: int) -> TokenLayout:
        """The visual tokens of a picture of this size, in pixels, from the model's configuration alone."""
        return packed(LlavaNextModel.pack_image_features, Tiling.of(config), (height, width))

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
