"""FastV: after two layers of the LLM, keep the visual tokens that the last prompt token attends to.

Source: FastV, arXiv 2403.06764, section 4: all tokens pass K layers; the attention of the last token in layer K - 1
(softmax over the whole sequence, mean over heads) ranks the visual tokens; the best go on. Positions stay.

But: pruned once, in prefill, with one query row instead of an attention map; retention is the layer average, so 1/3
keeps 166 of 576 tokens after layer 2 (published tables often give the number that is kept).
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from vscan_core.budget import check_keep, check_layer, one_cut, whole, without_idle_cuts
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy, Selection, Signals


@dataclass(frozen=True)
class FastV(Reducer):
    """FastV(retention=1/9) on 576 tokens and 32 layers: 576 into layers 0 and 1, 30 into the others."""

    _: KW_ONLY
    positions: str | None = "original"
    rope_in_scores: bool | None = True
    layer: int = 2  # the paper's K: first layer that sees fewer tokens
    keep: int | float | None = None  # int = tokens, float = share of them; None = by retention

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep is not None:
            check_keep(self.keep, "keep")

    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """One cut, at `layer`."""
        check_layer(self.layer, anatomy.text_layers, "layer")
        if self.keep is None:
            keep = one_cut(self.retention, tokens * tiles, anatomy.text_layers, self.layer)
        else:
            keep = whole(self.keep, tokens * tiles)
        return without_idle_cuts({self.layer: keep}, tokens, tiles)

    def score_layer(self, cut: int) -> int:
        """The last layer that sees everything."""
        return cut - 1

    def select(self, signals: Signals, keep: int) -> Selection:
        """There is no cut 0; the choice of the later one, from text scores."""
        return self.select_in_llm(signals, keep)
