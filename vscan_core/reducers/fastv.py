"""FastV: after two layers of the LLM, keep the visual tokens that the last prompt token attends to most.

Source: FastV, arXiv 2403.06764, section 4: all tokens pass through K layers; the attention of the last token in layer
K - 1 (softmax over the whole sequence, mean over heads) ranks the visual tokens, and the best are kept. Position ids
do not change.

But: tokens are pruned once, in prefill, with one query row instead of an attention map; retention is the layer average,
so 1/3 keeps 166 of 576 tokens from layer 2 on (published tables often give the number of kept tokens instead).
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from vscan_core.reducers.single_cut import InsideOnce


@dataclass(frozen=True)
class FastV(InsideOnce):
    """FastV(retention=1/9) on 576 tokens and 32 layers: 576 into layers 0 and 1, 30 into the others."""

    title: ClassVar[str] = "FastV"
    summary: ClassVar[str] = (
        "after two layers of the LLM, keep the visual tokens that the last prompt token attends to most"
    )
    paper: ClassVar[str] = "FastV, arXiv 2403.06764"

    _: KW_ONLY
    positions: str | None = "original"
    rope_in_scores: bool | None = True

    def score_layer(self, cut: int) -> int:
        """The last layer that all tokens enter."""
        return cut - 1
