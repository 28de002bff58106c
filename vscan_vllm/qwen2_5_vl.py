"""Qwen2.5-VL with fewer visual tokens, in pictures and videos."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from vscan_vllm.qwen_vl import CountsPatches, CutsPatches


class Qwen25Processor(CountsPatches, Qwen2_5_VLMultiModalProcessor):
    """Stock, with fewer placeholders."""


@MULTIMODAL_REGISTRY.register_processor(
    Qwen25Processor, info=Qwen2_5_VLProcessingInfo, dummy_inputs=Qwen2_5_VLDummyInputsBuilder
)
class VScanQwen25VL(CutsPatches, Qwen2_5_VLForConditionalGeneration):
    """Stock, with its rows selected."""

    title = "Qwen2.5-VL"

    def media_in(self, mm_features: list[Any]) -> Iterator[tuple[int, tuple[int, int, int, float]]]:
        """As vLLM reads them."""
        return ((start, tuple(grid)) for start, *grid in self.iter_mm_grid_thw(mm_features))
