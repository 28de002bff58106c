"""LLaVA-NeXT with fewer visual tokens: the same budget for every tile, spent on what it shows of the picture."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.models.llava import LlavaDummyInputsBuilder
from vllm.model_executor.models.llava_next import (
    LlavaNextForConditionalGeneration,
    LlavaNextMultiModalProcessor,
    LlavaNextProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from vscan_core.families.tiles import joined
from vscan_core.reducers import Reducer
from vscan_core.selection import Selection
from vscan_core.serving import TokenLayout, picture_layout, reduce_tiles
from vscan_vllm.clip import Seen, look
from vscan_vllm.cutting import CutsAtEntrance, all_needs, methods_in
from vscan_vllm.llava import FLAT_CLIP, side_of
from vscan_vllm.processing import ItemShape, Reducing


class NextProcessor(Reducing, LlavaNextMultiModalProcessor):
    """Stock, with fewer placeholders."""

    def shape_of(self, items: Any, modality: str, index: int) -> ItemShape:
        """The tiles depend on the picture's size."""
        config, size = self.info.get_hf_config(), items[modality].get_image_size(index)
        layout, side = picture_layout(config, size.height, size.width), side_of(config)
        grids = [(side, side) if one is None else one.grid for one in layout.regions or [None] * layout.tiles]
        return ItemShape(tuple(grids), side * side, len(layout.boxes))


@MULTIMODAL_REGISTRY.register_processor(
    NextProcessor, info=LlavaNextProcessingInfo, dummy_inputs=LlavaDummyInputsBuilder
)
class VScanLlavaNext(CutsAtEntrance, LlavaNextForConditionalGeneration):
    """Stock, with its tower watched and the rows of every tile selected."""

    hf_to_vllm_mapper = FLAT_CLIP | LlavaNextForConditionalGeneration.hf_to_vllm_mapper

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """The rows of each picture, packed; pictures of one batch may differ in method and rate."""
        reducers = methods_in(kwargs)
        pixels = kwargs.get("pixel_values")
        if pixels is None or not any(reducers):
            return super().embed_multimodal(**kwargs)
        return [
            self._picture(reducer, mine, [int(side) for side in size])
            for reducer, mine, size in zip(reducers, pixels, kwargs["image_sizes"], strict=True)
        ]

    def _picture(self, reducer: Reducer | None, pixels: Tensor, size: list[int]) -> Tensor:
        layout, tokens = picture_layout(self.config, *size), side_of(self.config) ** 2
        pixels = pixels[: layout.tiles]  # a batch may have made all pictures as long as the longest
        keep = None if reducer is None else reducer.at_entrance(tokens, self.anatomy)
        seen = look(
            self.vision_tower,
            partial(self._image_pixels_to_features, self.vision_tower, pixels),
            all_needs([reducer], self.anatomy),
            self.anatomy.feature_layer,
        )
        if reducer is None or keep is None:
            projected = self.multi_modal_projector(seen.features)
            packed: Tensor = self._merge_image_patch_embeddings(torch.tensor(size), projected, strategy="spatial_unpad")
            return packed
        return self._packed(layout, *self._cut(reducer, seen, keep, layout), tokens)

    def _cut(
        self, reducer: Reducer, seen: Seen, keep: int, layout: TokenLayout
    ) -> tuple[list[Selection], list[Tensor]]:
        side = side_of(self.config)
        signals = seen.signals(list(range(layout.tiles)), (side, side))
        return reduce_tiles(reducer, signals, keep, self.anatomy, self.multi_modal_projector, layout.regions)

    def _packed(self, layout: TokenLayout, chosen: list[Selection], rows: list[Tensor], tokens: int) -> Tensor:
        """The rows of all tiles in the picture's order, with its newlines."""
        assert layout.origin is not None
        kept = joined([one.kept for one in chosen], [tokens] * layout.tiles)  # ascending
        origin = layout.origin.to(kept.device)[layout.cut(chosen, tokens).kept]
        every = torch.cat([*rows, self.image_newline[None].to(rows[0])])
        place = torch.searchsorted(kept, origin.clamp(min=0))
        return every[place.where(origin >= 0, len(kept))]
