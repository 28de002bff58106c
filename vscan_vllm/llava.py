"""LLaVA-1.5 with fewer visual tokens."""

from __future__ import annotations

from functools import partial
from typing import Any

from vllm.model_executor.models.llava import (
    LlavaDummyInputsBuilder,
    LlavaForConditionalGeneration,
    LlavaMultiModalProcessor,
    LlavaProcessingInfo,
)
from vllm.model_executor.models.utils import WeightsMapper
from vllm.multimodal import MULTIMODAL_REGISTRY

from vscan_vllm.clip import look
from vscan_vllm.cutting import CutsAtEntrance, all_needs, as_tiles, embedded, methods_in
from vscan_vllm.processing import ItemShape, Reducing

# transformers 5.2x saves CLIP towers without the level "vision_model.", which vLLM expects and the Hub has
FLAT_CLIP = WeightsMapper(
    orig_to_new_prefix={
        f"{root}vision_tower.{part}": f"vision_tower.vision_model.{part}"
        for root in ("", "model.")
        for part in ("embeddings.", "pre_layrnorm.", "encoder.", "post_layernorm.")
    }
)


def side_of(config: Any) -> int:
    """Patches along each side of the square that CLIP sees."""
    side: int = config.vision_config.image_size // config.vision_config.patch_size
    return side


class Processor(Reducing, LlavaMultiModalProcessor):
    """Stock, with fewer placeholders."""

    def shape_of(self, items: Any, modality: str, index: int) -> ItemShape:
        """The same for every picture."""
        side = side_of(self.info.get_hf_config())
        return ItemShape(((side, side),), side * side, side * side)


@MULTIMODAL_REGISTRY.register_processor(Processor, info=LlavaProcessingInfo, dummy_inputs=LlavaDummyInputsBuilder)
class VScanLlava(CutsAtEntrance, LlavaForConditionalGeneration):
    """Stock, with its tower watched and its rows selected."""

    hf_to_vllm_mapper = FLAT_CLIP | LlavaForConditionalGeneration.hf_to_vllm_mapper

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """The rows of each picture; pictures of one batch may differ in method and rate."""
        reducers = methods_in(kwargs)
        if kwargs.get("pixel_values") is None or not any(reducers):
            return super().embed_multimodal(**kwargs)
        pixels = as_tiles(kwargs["pixel_values"])
        side = side_of(self.config)
        rows = []
        for part in self.parts(len(pixels), side * side):
            needs, run = all_needs(reducers[part], self.anatomy), partial(self._features, pixels[part])
            seen = look(self.vision_tower, run, needs, self.anatomy.feature_layer)
            signals = partial(seen.signals, grid=(side, side))
            rows += embedded(reducers[part], signals, side * side, self.anatomy, self.multi_modal_projector)
        return rows

    def _features(self, pixels: Any) -> Any:
        return self._image_pixels_to_features(self.vision_tower, pixels)
