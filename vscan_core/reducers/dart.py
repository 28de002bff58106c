"""DART: inside the LLM, keep a few tokens with large keys and those most unlike them and the text.

Source: DART, arXiv 2502.11494: duplicated tokens are dropped, not unimportant ones. Pivots are the visual tokens and
the tokens of the text behind the image whose rotated keys have the largest L1 norm, in the layer before the cut; 4 of
each. Every pivot in turn keeps the same number of the visual tokens that are least similar to it, by the cosine of
hidden states after the LLM's final norm. Text pivots themselves are not counted. Settings and signals as in the
implementation of LightCompress; the authors' code was not available. Position ids do not change.

But:
- `keep` and `retention` say how many visual tokens stay, those of pivots included; what does not divide evenly among
  the pivots goes to the first ones (the implementation keeps 4 + 8 * (128 // 8) = 132 of a budget of 128);
- visual pivots choose first, then those of the text, by falling norm (the implementation goes through a Python set of
  sequence positions, so that its order depends on the position of the image);
- where there is no text behind the image, or less than 4 tokens, there are fewer pivots;
- released=True keeps the implementation's number of tokens in its order.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vscan_core import geometry
from vscan_core.budget import without_idle_cuts
from vscan_core.errors import InputError
from vscan_core.reducers.single_cut import InsideOnce
from vscan_core.selection import Anatomy, Selection, Signals


@dataclass(frozen=True)
class DART(InsideOnce):
    """DART(retention=1/3) on 576 tokens and 32 layers: 576 into layers 0 and 1, 166 into the others."""

    title: ClassVar[str] = "DART"
    summary: ClassVar[str] = "inside the LLM, keep a few tokens with large keys and those most unlike them and the text"
    paper: ClassVar[str] = "DART, arXiv 2502.11494"

    _: KW_ONLY
    positions: str | None = "original"
    rope_in_scores: bool | None = True
    image_pivots: int = 4  # visual tokens
    text_pivots: int = 4  # tokens of the text behind the image
    released: bool = False  # number of tokens and order of pivots of the implementation, for one image without tiles
    image_start: int = 35  # if released: tokens of the prompt before the image; 35 in LLaVA-1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_pivots < 1:
            raise InputError(f"image_pivots must be at least 1, but is {self.image_pivots}")
        for name in ("text_pivots", "image_start"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be at least 0, but is {getattr(self, name)}")

    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """One cut, at `layer`; if `released`, to the visual pivots and a whole number of tokens for every pivot."""
        cuts = super().schedule(tokens, anatomy, tiles)
        if not self.released:
            return cuts
        pivots = self.image_pivots + self.text_pivots
        counts = {layer: self.image_pivots + pivots * (keep // pivots) for layer, keep in cuts.items()}
        return without_idle_cuts(counts, tokens, tiles)

    def score_layer(self, cut: int) -> int:
        """The layer before the cut, whose keys make the pivots."""
        return cut - 1

    @property
    def needs_in_llm(self) -> frozenset[str]:
        """Rotated keys and normalised hidden states, of the image and of the text behind it."""
        text = {"text_normed", "text_rotated_keys"} if self.text_pivots else set[str]()
        return frozenset({"normed", "rotated_keys", *text})

    def select_in_llm(self, signals: Signals, keep: int) -> Selection:
        """The visual pivots, and what every pivot adds."""
        assert signals.normed is not None and signals.rotated_keys is not None
        norms = key_norms(signals.rotated_keys)
        own = geometry.top(norms, min(self.image_pivots, keep))
        pivots, states = [own], [geometry.precise(signals.normed)[own]]
        if self.text_pivots:
            assert signals.text_normed is not None and signals.text_rotated_keys is not None
            words = geometry.top(key_norms(signals.text_rotated_keys), self.text_pivots)
            pivots.append(words + signals.tokens)
            states.append(geometry.precise(signals.text_normed)[words])
        rows = torch.cat(states)
        if self.released:
            rows = rows[hash_order(torch.cat(pivots), self.image_start)]
        rest = least_similar(geometry.precise(signals.normed), rows, own, keep - len(own)).sort().values
        own = own.sort().values
        kept = torch.cat([own, rest]).sort().values
        return Selection(kept=kept, labels={"pivot": own, "diverse": rest}, scores={"importance": norms})


def key_norms(keys: Tensor) -> Tensor:
    """(tokens,) L1 norms of keys (tokens, heads, head_dim)."""
    return geometry.precise(keys).abs().sum((1, 2))


def least_similar(features: Tensor, pivots: Tensor, taken: Tensor, count: int) -> Tensor:
    """(count,) indices, pivot by pivot: of what is left, the tokens with the lowest cosine to this one.

    features (tokens, dim), pivots (pivots, dim); taken (n,): tokens that no pivot may choose. Every pivot chooses the
    same number, the first ones one more if `count` does not divide evenly; ties go to the lowest index.
    Unit vectors at 0, 10, 90, 180 degrees, pivots 0 and 180 degrees, none taken, count 3 -> [3, 2, 0].
    """
    cosine = normalize(pivots, dim=-1) @ normalize(features, dim=-1).T  # (pivots, tokens)
    share, more = divmod(count, len(pivots))
    found = [taken[:0]]
    for number, row in enumerate(-cosine):
        row = row.index_fill(0, torch.cat([taken, *found]), -torch.inf)
        found.append(geometry.top(row, share + (number < more)))
    return torch.cat(found)


def hash_order(pivots: Tensor, start: int) -> Tensor:
    """(pivots,) the order in which CPython goes through a set of the positions `start` + pivots (pivots,)."""
    positions = [start + token for token in pivots.tolist()]
    return torch.tensor([positions.index(position) for position in set(positions)], device=pivots.device)
