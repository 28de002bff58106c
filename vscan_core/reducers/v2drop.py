"""V2Drop: inside the LLM, drop in stages the visual tokens that a layer changes least.

Source: V2Drop, arXiv 2509.01552, variation-aware dropping: before a cut, the L2 distance between what enters and what
leaves the previous layer ranks the visual tokens that are left, and those that vary most stay. Cuts and shares as in
the released code for LLaVA-1.5, at layers 3, 17 and 22 of 32: one half, one half of that, then a single token; for
Qwen2-VL, at layers 3, 16 and 22 of 28: 1/4, 1/20 of that, then a single token. Position ids do not change.

But:
- the shares follow from the retention: each stage's share of all tokens is raised to the same power, so that the shape
  of the published schedule stays; `published=True` takes the released shares as they are (retention .352 for LLaVA-1.5
  on 576 tokens), and so does `shares` with any others;
- on LLMs of other depths the layers are those of LLaVA-1.5 in proportion, unless `published` or `layers` is set;
- every image has its own budget (the released code takes 576 tokens of any sequence that is longer for one image).
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from itertools import accumulate
from operator import mul
from typing import ClassVar

from vscan_core import geometry
from vscan_core.budget import check_layers, pyramid, whole, without_idle_cuts
from vscan_core.errors import InputError
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy, Selection, Signals

Stages = tuple[tuple[int, ...], tuple[float, ...]]
# depth of the LLM -> layers of the cuts, and what each keeps of the tokens left; 0 = a single one
PUBLISHED_STAGES: dict[int, Stages] = {
    32: ((3, 17, 22), (0.5, 0.5, 0.0)),
    28: ((3, 16, 22), (0.25, 0.05, 0.0)),
}


@dataclass(frozen=True)
class V2Drop(Reducer):
    """V2Drop(retention=1/3) on 576 tokens and 32 layers: 576 into layers 0-2, then 270, 126 and 1."""

    title: ClassVar[str] = "V2Drop"
    summary: ClassVar[str] = "inside the LLM, drop in stages the visual tokens that a layer changes least"
    paper: ClassVar[str] = "V2Drop, arXiv 2509.01552"

    _: KW_ONLY
    positions: str | None = "original"
    published: bool = False  # the released layers and shares, whatever the retention
    layers: tuple[int, ...] | None = None  # where each stage begins; None = the published ones
    shares: tuple[float, ...] | None = None  # of the tokens left, for each layer, 0 = one token; None = by retention

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.published and (self.layers is not None or self.shares is not None):
            raise InputError("published sets layers and shares itself; leave them out, or published")
        for share in self.shares or ():
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
                raise InputError(f"each of shares must be a number from 0 to 1, but one is {share!r}")

    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """One cut per stage. Raises InputError if a layer does not exist or the retention is out of reach."""
        layers, shares = self._stages(anatomy.text_layers)
        left = tokens * tiles
        if self.shares is None and not self.published:
            of_all = accumulate(shares, mul)  # one share, to these powers, makes the published ones
            powers = dict(zip(layers, (-math.log(max(share, 1 / left)) for share in of_all), strict=True))
            at = check_layers(list(powers), anatomy.text_layers)
            cuts = pyramid(self.retention, left, anatomy.text_layers, at, list(powers.values()))
        else:
            cuts = {}
            for layer, share in zip(check_layers(layers, anatomy.text_layers), shares, strict=True):
                cuts[layer] = left = whole(float(share), left)
        return without_idle_cuts(cuts, tokens, tiles)

    def _stages(self, depth: int) -> Stages:
        """Where each stage begins in an LLM of `depth` layers, and which share of the tokens left it keeps."""
        layers, shares = PUBLISHED_STAGES.get(depth, PUBLISHED_STAGES[32])
        if not self.published and depth not in PUBLISHED_STAGES:  # in a shallow LLM, several may begin at once
            layers = tuple(max(1, depth * layer // 32) for layer in layers)
        layers, shares = self.layers or layers, self.shares or shares
        if len(layers) != len(shares):
            raise InputError(f"there are {len(layers)} layers but {len(shares)} shares; give one for each layer")
        return layers, shares

    @property
    def needs_in_llm(self) -> frozenset[str]:
        """What enters the layer of the cut, and what entered the one before."""
        return frozenset({"hidden", "entered"})

    def score_layer(self, cut: int) -> int:
        """The layer whose change is measured."""
        return cut - 1

    def select(self, signals: Signals, keep: int) -> Selection:
        """The same choice as at later cuts; the method itself has no cut 0."""
        return self.select_in_llm(signals, keep)

    def select_in_llm(self, signals: Signals, keep: int) -> Selection:
        """The tokens that changed most."""
        assert signals.hidden is not None and signals.entered is not None
        change = geometry.precise(signals.hidden) - geometry.precise(signals.entered)
        return Selection.top(change.norm(dim=-1), keep, "variation")
