"""Qwen3-VL with fewer visual tokens. No videos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vllm.model_executor.models.qwen3_vl import (
    Qwen3VLDummyInputsBuilder,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMultiModalProcessor,
    Qwen3VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from vscan_vllm.qwen_vl import CountsPatches, CutsPatches


class Qwen3Pictures(Qwen3VLProcessingInfo):
    """Stock, without videos, whose frames have their times as text between them."""

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        """Any number of pictures."""
        return {"image": None}

    def get_supported_mm_processor_kwargs(self) -> dict[str, set[str]]:
        """Those of pictures; the stock class adds to those of videos."""
        found: dict[str, set[str]] = super(Qwen3VLProcessingInfo, self).get_supported_mm_processor_kwargs()
        return found


class Qwen3Processor(CountsPatches, Qwen3VLMultiModalProcessor):
    """Stock, with fewer placeholders."""

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Sequence[Any]:
        updates = super()._get_prompt_updates(mm_items, hf_processor_mm_kwargs, out_mm_kwargs)
        return [update for update in updates if update.modality == "image"]


@MULTIMODAL_REGISTRY.register_processor(Qwen3Processor, info=Qwen3Pictures, dummy_inputs=Qwen3VLDummyInputsBuilder)
class VScanQwen3VL(CutsPatches, Qwen3VLForConditionalGeneration):
    """Stock, with its rows selected; those for deeper layers go with them."""

    title = "Qwen3-VL"

    def media_in(self, mm_features: list[Any]) -> Iterator[tuple[int, tuple[int, int, int, float]]]:
        """Pictures alone."""
        merge = self.visual.spatial_merge_size
        for one in sorted(mm_features, key=lambda feature: feature.mm_position.offset):
            frames, high, wide = one.data["image_grid_thw"].data.tolist()
            yield one.mm_position.offset, (frames, high // merge, wide // merge, 1.0)
