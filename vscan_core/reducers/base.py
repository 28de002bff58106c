"""Reducer: one method of visual token reduction. It sees tensors and plain numbers, never a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass, fields
from typing import TYPE_CHECKING

from torch import Tensor

from vscan_core.budget import average, check_keep, check_layer, check_retention, one_cut, whole, without_idle_cuts
from vscan_core.errors import InputError
from vscan_core.reducers.settings import check_kind, frozen
from vscan_core.selection import Anatomy, Needs, Selection, Signals

if TYPE_CHECKING:
    from vscan_core.reducers.then import Then

MANY = 1 << 20  # more tokens, and more tiles, than any image has: no budget is idle there


@dataclass(frozen=True)
class Reducer(ABC):
    """Say where the cuts are, how many tokens stay, which signals are needed, and which tokens to keep.

    Fields are settings; change one with `dataclasses.replace`. State of a run never lives here. Dicts and lists given
    for a field are taken over as they are at that moment, in a form that has a hash, so that every reducer has one.
    """

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
        """{layer: visual tokens that enter from there on} for an image of `tiles` tiles of `tokens` visual tokens.

        Layer 0 is the entrance of the LLM, and its count is per tile; later counts are per image. A cut that
        keeps everything is left out, so {} means no reduction.
        """

    def cut_layers(self, anatomy: Anatomy) -> tuple[int, ...]:
        """Every layer at which some image may be cut, ascending; 0 = the entrance of the LLM."""
        return tuple(sorted(self.schedule(MANY, anatomy, MANY)))

    def at_entrance(self, tokens: int, anatomy: Anatomy) -> int | None:
        """How many of the `tokens` of one image or tile enter the LLM; None = all of them."""
        return self.schedule(tokens, anatomy).get(0)

    def spends(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> float:
        """The retention that an image of `tiles` tiles of `tokens` tokens really gets, whole tokens counted."""
        cuts = self.schedule(tokens, anatomy, tiles)
        per_image = {layer: keep if layer else keep * tiles for layer, keep in cuts.items()}
        return average(per_image, tokens * tiles, anatomy.text_layers) / (tokens * tiles)

    def then(self, second: Reducer) -> Then:
        """This one at the entrance of the LLM, `second` inside it on what is left; retentions multiply."""
        from vscan_core.reducers.then import Then

        return Then(self, second)

    def needs(self, anatomy: Anatomy) -> Needs:
        """The signals of cut 0."""
        return Needs()

    @abstractmethod
    def select(self, signals: Signals, keep: int) -> Selection:
        """Cut 0: choose `keep` of the visual tokens of one image (or tile)."""

    def drops(self, tokens: int, keep: int, blocks: int) -> list[int]:
        """Tokens that merge away in each block of the vision encoder; asked for only if `needs` names the blocks."""
        raise NotImplementedError

    def partners(self, keys: Tensor, drop: int, first_stays: bool) -> Tensor:
        """keys (images, tokens, dim) -> (images, tokens): where each token goes among the `tokens - drop` left.

        first_stays: the first one is CLS, which never merges and stays first. Asked for only where `drops` is.
        """
        raise NotImplementedError

    def select_in_llm(self, signals: Signals, keep: int) -> Selection:
        """A later cut: choose `keep` of the visual tokens that are still there; by default the text's favourites."""
        assert signals.text is not None
        return Selection.top(signals.text, keep, "text")

    def position_mode(self, anatomy: Anatomy) -> str:
        """What happens to position ids: "original" or "renumbered"."""
        return self.positions or anatomy.positions

    def uses_rope(self, anatomy: Anatomy) -> bool:
        """Whether scores of later cuts apply the rotary embedding."""
        return anatomy.rope_in_scores if self.rope_in_scores is None else self.rope_in_scores

    @property
    def asks_text(self) -> bool:
        """Whether `raters` name what scores later cuts; else the last prompt token does."""
        return False

    def raters(self, visual: Tensor, text: Tensor) -> Tensor:
        """(text,) bool: the text tokens whose mean attention scores later cuts; asked for only if `asks_text`.

        visual (tokens, dim) and text (text, dim), the prompt behind the image, as they enter the LLM.
        """
        raise NotImplementedError

    @property
    def needs_in_llm(self) -> frozenset[str]:
        """The signals of later cuts, by their names in Signals; only these are taken."""
        return frozenset({"text", "hidden"} if self.recycles else {"text"})

    @property
    def recycles(self) -> bool:
        """Whether later cuts merge dropped tokens into kept ones."""
        return False

    def score_layer(self, cut: int) -> int:
        """The decoder layer whose weights score the later cut at layer `cut`: `cut` itself or the one before it."""
        return cut


@dataclass(frozen=True)
class AtEntrance(Reducer):
    """A method with a single cut, at the entrance of the LLM."""

    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """`retention` of the tokens of every tile, to the nearest whole one."""
        keep = one_cut(self.retention, tokens, anatomy.text_layers)
        return {0: keep} if keep < tokens else {}


@dataclass(frozen=True)
class InsideOnce(Reducer):
    """A method with a single cut, inside the LLM: everything enters the layers before `layer`."""

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
        """Where the cut is if `layer` is None."""
        return 2

    def select(self, signals: Signals, keep: int) -> Selection:
        """There is no cut 0; the choice of the later one."""
        return self.select_in_llm(signals, keep)
