"""Reducer: one method of visual token reduction. It sees tensors and plain numbers, never a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from torch import Tensor

from vscan_core.budget import check_retention, one_cut
from vscan_core.errors import InputError
from vscan_core.selection import Anatomy, Needs, Selection, Signals

MANY = 1 << 20  # more tokens, and more tiles, than any image has: no budget is idle there


@dataclass(frozen=True)
class Reducer(ABC):
    """Say where the cuts are, how many tokens stay, which signals are needed, and which tokens to keep.

    Fields are settings; change one with `dataclasses.replace`. State of a run never lives here.
    """

    asks_text: ClassVar[bool] = False  # whether `raters` name what scores later cuts; else the last prompt token does

    retention: float = 1 / 9  # average over decoder layers of the share of visual tokens that enter the layer
    _: KW_ONLY
    positions: str | None = None  # position ids after a cut: "original" (gaps stay) | "renumbered"; None = the family's
    rope_in_scores: bool | None = None  # rotary embedding in the scores of later cuts; None = the family's

    def __post_init__(self) -> None:
        check_retention(self.retention)
        if self.positions not in (None, "original", "renumbered"):
            raise InputError(f'positions must be "original" or "renumbered", but is {self.positions!r}')

    @abstractmethod
    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """{layer: visual tokens that enter from there on} for an image of `tiles` tiles of `tokens` visual tokens.

        Layer 0 is the entrance of the LLM, and its count is per tile; later counts are per image. A cut that
        keeps everything is left out, so {} means no reduction.
        """

    def cut_layers(self, anatomy: Anatomy) -> tuple[int, ...]:
        """Every layer at which some image may be cut, ascending; 0 = the entrance of the LLM."""
        return tuple(sorted(self.schedule(MANY, anatomy, MANY)))

    def needs(self, anatomy: Anatomy) -> Needs:
        """The signals of cut 0."""
        return Needs()

    @abstractmethod
    def select(self, signals: Signals, keep: int) -> Selection:
        """Cut 0: choose `keep` of the visual tokens of one image (or tile)."""

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

    def raters(self, visual: Tensor, text: Tensor) -> Tensor:
        """(text,) bool: the text tokens whose mean attention scores later cuts; asked for only if `asks_text`.

        visual (tokens, dim) and text (text, dim), the prompt behind the image, as they enter the LLM.
        """
        raise NotImplementedError

    @property
    def recycles(self) -> bool:
        """Whether later cuts merge dropped tokens into kept ones; they then see the hidden states."""
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
