"""Then: one method at the entrance of the LLM, another one inside it, on what the first left.

Source: none; this is composition. `Then(VisPruner(retention=1/3), FastV(retention=1/2))`, or `first.then(second)`.
The second counts in what the first left: half of a third is a sixth, so retentions multiply. `spends` tells what a
pair really spends; it differs where a method rounds or has counts set by hand (`FastV(keep=9)`).

But: position ids have one mode for the whole run: this one's, else what the second asks for, else the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from vscan_core.errors import InputError
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy, Needs, Selection, Signals


@dataclass(frozen=True)
class Then(Reducer):
    """Then(VisPruner(retention=1/3), FastV(retention=1/2)) on 576 tokens, 32 layers: 192 into layers 0-1, then 90."""

    retention: float = field(init=False, default=1.0)  # the product of the two
    first: Reducer  # cuts at layer 0 alone
    second: Reducer  # cuts at later layers alone

    def __post_init__(self) -> None:
        for part in (self.first, self.second):
            if not isinstance(part, Reducer):
                raise InputError(f"a pair is made of two reducers, but one of these is {part!r}")
        object.__setattr__(self, "retention", self.first.retention * self.second.retention)
        super().__post_init__()

    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """The first one's cut, and those that the second makes of what it leaves."""
        entrance = self.first.schedule(tokens, anatomy, tiles)
        later = self.second.schedule(entrance.get(0, tokens), anatomy, tiles)
        if set(entrance) - {0}:
            raise InputError(f"the first of a pair cuts at the entrance of the LLM only, unlike {self.first}")
        if 0 in later:
            raise InputError(f"the second of a pair cuts inside the LLM only, unlike {self.second}")
        return entrance | later

    def at_entrance(self, tokens: int, anatomy: Anatomy) -> int | None:
        """The first one's; the second may not work on a single tile."""
        return self.first.at_entrance(tokens, anatomy)

    def needs(self, anatomy: Anatomy) -> Needs:
        """The first one's."""
        return self.first.needs(anatomy)

    def select(self, signals: Signals, keep: int) -> Selection:
        """The first one's choice."""
        return self.first.select(signals, keep)

    def drops(self, tokens: int, keep: int, blocks: int) -> list[int]:
        """The first one's."""
        return self.first.drops(tokens, keep, blocks)

    def partners(self, keys: Tensor, drop: int, first_stays: bool) -> Tensor:
        """The first one's."""
        return self.first.partners(keys, drop, first_stays)

    def select_in_llm(self, signals: Signals, keep: int) -> Selection:
        """The second one's choice."""
        return self.second.select_in_llm(signals, keep)

    def position_mode(self, anatomy: Anatomy) -> str:
        """One mode for both cuts."""
        return self.positions or self.second.positions or self.first.position_mode(anatomy)

    def uses_rope(self, anatomy: Anatomy) -> bool:
        """The second one's, unless set here."""
        return self.second.uses_rope(anatomy) if self.rope_in_scores is None else self.rope_in_scores

    @property
    def asks_text(self) -> bool:
        """The second one's."""
        return self.second.asks_text

    def raters(self, visual: Tensor, text: Tensor) -> Tensor:
        """The second one's."""
        return self.second.raters(visual, text)

    @property
    def needs_in_llm(self) -> frozenset[str]:
        """The second one's."""
        return self.second.needs_in_llm

    @property
    def recycles(self) -> bool:
        """The second one's."""
        return self.second.recycles

    def score_layer(self, cut: int) -> int:
        """The second one's."""
        return self.second.score_layer(cut)
