"""Methods with a single cut: `AtEntrance` of the LLM, or `InsideOnce`, at one of its layers."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from vscan_core.budget import check_keep, check_layer, one_cut, whole, without_idle_cuts
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy, Selection, Signals


@dataclass(frozen=True)
class AtEntrance(Reducer):
    """A method with a single cut, at the entrance of the LLM."""

    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """`retention` of the tokens of every tile, rounded to whole tokens."""
        keep = one_cut(self.retention, tokens, anatomy.text_layers)
        return {0: keep} if keep < tokens else {}


@dataclass(frozen=True)
class InsideOnce(Reducer):
    """A method with a single cut, inside the LLM: all tokens enter the layers before `layer`."""

    _: KW_ONLY
    layer: int | None = 2  # first layer that sees fewer tokens; None = the published one
    keep: int | float | None = None  # int = tokens, float = share of them; None = by retention

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep is not None:
            check_keep(self.keep, "keep")

    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """One cut, at `layer`."""
        layer = self.published_layer(anatomy) if self.layer is None else self.layer
        check_layer(layer, anatomy.text_layers, "layer")
        if self.keep is None:
            keep = one_cut(self.retention, tokens * tiles, anatomy.text_layers, layer)
        else:
            keep = whole(self.keep, tokens * tiles)
        return without_idle_cuts({layer: keep}, tokens, tiles)

    def published_layer(self, anatomy: Anatomy) -> int:
        """The layer of the cut if `layer` is None."""
        return 2

    def select(self, signals: Signals, keep: int) -> Selection:
        """The same choice as at the later cut; the method itself has no cut 0."""
        return self.select_in_llm(signals, keep)
