"""How many pictures one step of vLLM encodes: counted by what goes into the encoder, not by what leaves it.

vLLM's own manager counts the tokens that leave it. Of reduced pictures it then encodes so many in one step that all of
them wait for the last: the first token of most requests comes later than without reduction.
"""

from __future__ import annotations

from typing import Any

from vllm.v1.core.encoder_cache_manager import EncoderCacheManager

from vscan_vllm.processing import TOKENS_FIELDS


class EncodedTokens(EncoderCacheManager):
    """For `--ec-manager-config`; `vscan-vllm` sets it. Caching is vLLM's own."""

    def __init__(self, cache_size: int) -> None:
        super().__init__(cache_size)
        self.left_out = 0  # tokens that this step encodes and no request keeps

    def can_allocate(
        self, request: Any, input_id: int, encoder_compute_budget: int, num_embeds_to_schedule: int
    ) -> bool:
        """As in vLLM, with the tokens that are left out taken from the step's budget; one picture always fits."""
        kept = request.get_num_encoder_embeds(input_id)
        left_out = max(0, _tokens(request, input_id) - kept)
        if self.left_out and self.left_out + left_out + kept > encoder_compute_budget:
            return False
        possible: bool = super().can_allocate(request, input_id, encoder_compute_budget, num_embeds_to_schedule)
        if possible:
            self.left_out += left_out
        return possible

    def get_freed_mm_hashes(self) -> list[str]:
        """As in vLLM, which calls this once at the end of a step."""
        self.left_out = 0
        freed: list[str] = super().get_freed_mm_hashes()
        return freed


def _tokens(request: Any, input_id: int) -> int:
    """Visual tokens of an item before the cut; 0 where its data are elsewhere."""
    feature = request.mm_features[input_id]
    elem = (feature.data or {}).get(TOKENS_FIELDS.get(feature.modality))
    return 0 if elem is None else int(elem.data)
