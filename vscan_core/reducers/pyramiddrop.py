"""PyramidDrop: inside the LLM, drop in stages the visual tokens that the last prompt token attends to least.

Source: PyramidDrop, arXiv 2410.17247, section 3: at 1/4, 1/2 and 3/4 of the depth, the attention of the last prompt
token, with the weights of the layer at the cut (softmax over the whole sequence, mean over heads), ranks the
visual tokens; each stage keeps the same share of the previous one (one half in the paper).

But: the share follows from the retention (the three halvings of the paper are retention 0.469); all tokens enter the
first quarter, so a retention below 1/4 needs earlier `layers`; grouped-query attention is supported; only one query row
is computed.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from vscan_core.budget import check_keep, check_layers, pyramid, whole, without_idle_cuts
from vscan_core.errors import InputError
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy, Selection, Signals


@dataclass(frozen=True)
class PyramidDrop(Reducer):
    """PyramidDrop(retention=1/3) on 576 tokens and 32 layers: 576 into layers 0-7, then 146, 37 and 9."""

    title: ClassVar[str] = "PyramidDrop"
    summary: ClassVar[str] = (
        "inside the LLM, drop in stages the visual tokens that the last prompt token attends to least"
    )
    paper: ClassVar[str] = "PyramidDrop, arXiv 2410.17247"

    _: KW_ONLY
    rope_in_scores: bool | None = True
    layers: tuple[int, ...] | None = None  # where each stage begins; None = at 1/4, 1/2 and 3/4 of the depth
    shares: tuple[float, ...] | None = None  # of all visual tokens, one for each layer; None = by retention

    def __post_init__(self) -> None:
        super().__post_init__()
        for share in self.shares or ():
            check_keep(share, "each of shares")

    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """One cut per stage."""
        depth = anatomy.text_layers
        quarters = sorted({max(1, depth * quarter // 4) for quarter in (1, 2, 3)})
        layers = check_layers(quarters if self.layers is None else self.layers, depth)
        if self.shares is None:
            cuts = pyramid(self.retention, tokens * tiles, depth, layers)
        elif len(self.shares) == len(layers):
            cuts = {layer: whole(share, tokens * tiles) for layer, share in zip(layers, self.shares, strict=True)}
        else:
            raise InputError(f"there are {len(layers)} layers but {len(self.shares)} shares; give one for each layer")
        return without_idle_cuts(cuts, tokens, tiles)

    def select(self, signals: Signals, keep: int) -> Selection:
        """The same choice as at later cuts, from text scores; the method itself has no cut 0."""
        return self.select_in_llm(signals, keep)
