"""Reducer: a method of visual token reduction. It receives tensors and numbers, never a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import ClassVar

from torch import Tensor

from vscan_core.budget import average, check_retention
from vscan_core.errors import InputError
from vscan_core.reducers.demands import OF_THE_QUESTION, EngineDemands
from vscan_core.reducers.entrance_cut import EntranceCut
from vscan_core.reducers.later_cuts import LaterCuts
from vscan_core.reducers.settings import check_kind, frozen
from vscan_core.selection import Anatomy, Needs, Selection, Signals

MANY = 1 << 60  # more tokens, and more tiles, than any image has, so that every cut drops some


@dataclass(frozen=True)
class Reducer(EntranceCut, LaterCuts, ABC):
    """Decides where to cut, how many tokens to keep, which signals are needed, and which tokens to keep.

    Fields are settings; change one with `dataclasses.replace`. A reducer holds no state of a run. Dicts and lists given
    for a field are copied to immutable ones, so that every reducer has a hash. Raises InputError for bad settings.
    """

    title: ClassVar[str]  # the method's name as people write it
    summary: ClassVar[str]  # one sentence without the name, such as "keep the tokens that CLS attends to most"
    paper: ClassVar[str]  # such as "FastV, arXiv 2403.06764"; "" for a baseline

    retention: float = 1 / 9  # average over decoder layers of the share of visual tokens that enter the layer
    _: KW_ONLY
    positions: str | None = None  # position ids after a cut: "original" (gaps stay) | "renumbered"; None = the family's
    rope_in_scores: bool | None = None  # rotary embedding in the scores of later cuts; None = the family's

    def __post_init__(self) -> None:
        for setting in fields(self):
            object.__setattr__(self, setting.name, frozen(getattr(self, setting.name)))
        check_retention(self.retention)
        if self.positions not in (None, "original", "renumbered"):
            raise InputError(f'positions must be "original" or "renumbered", but is {self.positions!r}')
        for setting in fields(self):
            check_kind(getattr(self, setting.name), setting.name, str(setting.type))

    @abstractmethod
    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """{layer: visual tokens that enter from there on} for an image of `tiles` tiles of `tokens` visual tokens each.

        Layer 0 is the entrance of the LLM, and its count is per tile; later counts are per image. Cuts that keep all
        tokens are left out, so {} means no reduction. Raises InputError if the retention is out of reach.
        """

    def cut_layers(self, anatomy: Anatomy) -> tuple[int, ...]:
        """All layers at which an image may be cut, ascending; 0 = the entrance of the LLM."""
        return tuple(sorted(self.schedule(MANY, anatomy, MANY)))

    def at_entrance(self, tokens: int, anatomy: Anatomy) -> int | None:
        """How many of the `tokens` of one image or tile to keep at cut 0; None = all of them."""
        return self.schedule(tokens, anatomy).get(0)

    def spends(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> float:
        """The retention of an image of `tiles` tiles of `tokens` tokens after rounding to whole tokens."""
        cuts = self.schedule(tokens, anatomy, tiles)
        per_image = {layer: keep if layer else keep * tiles for layer, keep in cuts.items()}
        return average(per_image, tokens * tiles, anatomy.text_layers) / (tokens * tiles)

    def entrance_bounds(self, tokens: int, anatomy: Anatomy) -> tuple[int, int]:
        """The fewest and the most of the `tokens` of one image or tile that pass cut 0; equal unless `adaptive`."""
        most = self.at_entrance(tokens, anatomy) or tokens
        return (1 if self.adaptive else most, most)

    def demands(self, anatomy: Anatomy) -> EngineDemands:
        """What an engine must be able to do. Raises InputError where `schedule` or `needs` does."""
        cuts = self.cut_layers(anatomy)
        needs = self.needs(anatomy) if 0 in cuts else Needs()
        asks = any(cuts) and (self.scores_with_text or bool(self.needs_in_llm & OF_THE_QUESTION))
        return EngineDemands(cuts, needs, not (asks or needs.joint), self.adaptive, self.sees_all_tiles and 0 in cuts)

    def then(self, second: Reducer) -> Then:
        """This method at the entrance of the LLM, then `second` inside it on what is left; retentions multiply."""
        return Then(self, second)

    def position_mode(self, anatomy: Anatomy) -> str:
        """What happens to position ids after a cut: "original" (gaps stay) or "renumbered"."""
        return self.positions or anatomy.positions

    @property
    def unsure_below(self) -> float | None:
        """The margin, in nats, below which a greedy answer is asked for again with all visual tokens; None: never."""
        return None

    @property
    def first_reading(self) -> Reducer:
        """The method whose answer is asked for again if it is unsure: itself, unless `unsure_below` is set."""
        return self


@dataclass(frozen=True)
class Then(Reducer):
    """One method at the entrance of the LLM and another inside it, on the tokens that the first kept.

    Then(VisPruner(retention=1/3), FastV(retention=1/2)) on 576 tokens, 32 layers: 192 into layers 0-1, then 90."""

    title: ClassVar[str] = "Then"
    summary: ClassVar[str] = "one method at the entrance of the LLM, another one inside it"
    paper: ClassVar[str] = ""

    retention: float = field(init=False, default=1.0)  # the product of the two
    first: Reducer  # cuts at layer 0 alone
    second: Reducer  # cuts at later layers alone

    def __post_init__(self) -> None:
        for reducer in (self.first, self.second):
            if not isinstance(reducer, Reducer):
                raise InputError(f"a pair consists of two reducers, but one of these is {reducer!r}")
        object.__setattr__(self, "retention", self.first.retention * self.second.retention)
        super().__post_init__()

    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """The first method's cut, and the second's on what that keeps. Raises InputError if they do not combine."""
        entrance = self.first.schedule(tokens, anatomy, tiles)
        later = self.second.schedule(entrance.get(0, tokens), anatomy, tiles)
        if set(entrance) - {0}:
            raise InputError(f"the first of a pair may cut only at the entrance of the LLM, unlike {self.first}")
        if 0 in later:
            raise InputError(f"the second of a pair may cut only inside the LLM, unlike {self.second}")
        return entrance | later

    def without_later_cuts(self) -> Reducer:
        """The first method."""
        return self.first

    def at_entrance(self, tokens: int, anatomy: Anatomy) -> int | None:
        """As in the first method; the second may be unable to cut a single tile."""
        return self.first.at_entrance(tokens, anatomy)

    @property
    def adaptive(self) -> bool:
        """As in the first method."""
        return self.first.adaptive

    def needs(self, anatomy: Anatomy) -> Needs:
        """As in the first method."""
        return self.first.needs(anatomy)

    def select(self, signals: Signals, keep: int) -> Selection:
        """The choice of the first method."""
        return self.first.select(signals, keep)

    @property
    def sees_all_tiles(self) -> bool:
        """As in the first method."""
        return self.first.sees_all_tiles

    def select_tiles(self, tiles: Signals, keep: int) -> list[Selection]:
        """The choice of the first method."""
        return self.first.select_tiles(tiles, keep)

    @property
    def sees_padding(self) -> bool:
        """As in the first method."""
        return self.first.sees_padding

    def drops(self, tokens: int, keep: int, blocks: int) -> list[int]:
        """As in the first method."""
        return self.first.drops(tokens, keep, blocks)

    def partners(self, keys: Tensor, drop: int, first_stays: bool) -> Tensor:
        """As in the first method."""
        return self.first.partners(keys, drop, first_stays)

    def select_in_llm(self, signals: Signals, keep: int) -> Selection:
        """The choice of the second method."""
        return self.second.select_in_llm(signals, keep)

    @property
    def unsure_below(self) -> float | None:
        """As in the first method."""
        return self.first.unsure_below

    @property
    def first_reading(self) -> Reducer:
        """With the first method's."""
        return replace(self, first=self.first.first_reading)

    def position_mode(self, anatomy: Anatomy) -> str:
        """One mode for both cuts."""
        return self.positions or self.second.positions or self.first.position_mode(anatomy)

    def uses_rope(self, anatomy: Anatomy) -> bool:
        """As in the second method, unless set here."""
        return self.second.uses_rope(anatomy) if self.rope_in_scores is None else self.rope_in_scores

    @property
    def scores_with_text(self) -> bool:
        """As in the second method."""
        return self.second.scores_with_text

    def query_tokens(self, visual: Tensor, text: Tensor) -> Tensor:
        """As in the second method."""
        return self.second.query_tokens(visual, text)

    @property
    def needs_in_llm(self) -> frozenset[str]:
        """As in the second method."""
        return self.second.needs_in_llm

    @property
    def merges_in_llm(self) -> bool:
        """As in the second method."""
        return self.second.merges_in_llm

    def score_layer(self, cut: int) -> int:
        """As in the second method."""
        return self.second.score_layer(cut)
