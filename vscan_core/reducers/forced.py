"""Forced: any method with some tokens forced in and others forced out, to see whether the answer depends on them.

Source: none; leave-one-out, asked of single visual tokens.

The method chooses first; then as little as possible is changed. A token forced in takes the place of the one that the
method would have given up first, and where one is forced out, the method's next choice comes in: both are found by
asking the method for smaller or larger budgets.

But:
- what the method had merged into a token that is not kept goes to the most similar kept one; a token forced out is
  dropped without a trace, not merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from vscan_core.errors import InputError
from vscan_core.reducers.base import Reducer
from vscan_core.reducers.forcing import force
from vscan_core.regions import Region, alike
from vscan_core.selection import Anatomy, Needs, Selection, Signals
from vscan_core.trace import ImageTrace


@dataclass(frozen=True)
class Forced(Reducer):
    """`reducer` on one picture, with the tokens `keep` forced in and `drop` forced out, also at later cuts.

    Indices are those of a trace: of the picture's unreduced tokens. Tokens forced out go at the method's first cut, or
    at the entrance of the LLM if it has none. The budget stays the same unless more tokens are forced in than it has
    (`excess` says so). For a picture of several tiles use `Forced.on`. Raises InputError if a token is in both lists.
    """

    title: ClassVar[str] = "Forced"
    summary: ClassVar[str] = "any method with some tokens forced in and others forced out"
    paper: ClassVar[str] = ""

    retention: float = field(init=False, default=1.0)  # of the method, before anything is forced
    reducer: Reducer
    _: KW_ONLY
    keep: tuple[int, ...] = ()
    drop: tuple[int, ...] = ()
    tiles: int = 1  # of the picture
    origin: tuple[int, ...] | None = None  # of each token, as in ImageTrace.origin; None: in order

    def __post_init__(self) -> None:
        if not isinstance(self.reducer, Reducer):
            raise InputError(f"only a method can be forced, but this is {self.reducer!r}")
        object.__setattr__(self, "retention", self.reducer.retention)
        for name in ("keep", "drop"):
            object.__setattr__(self, name, tuple(sorted({int(token) for token in getattr(self, name)})))
        super().__post_init__()
        if both := set(self.keep) & set(self.drop):
            raise InputError(f"token {min(both)} cannot be forced in and out at once")
        if any(token < 0 for token in self.keep + self.drop):
            raise InputError("tokens are counted from 0, so none is negative")
        if self.origin is not None and any(self.origin[token] < 0 for token in self.drop if token < len(self.origin)):
            raise InputError("newline tokens show nothing of the picture and cannot be forced out")

    @classmethod
    def on(cls, image: ImageTrace, reducer: Reducer, *, keep: Sequence[int] = (), drop: Sequence[int] = ()) -> Forced:
        """For the picture of a trace, whatever its tiles. Raises InputError for tokens that it does not have."""
        if any(token >= image.tokens for token in (*keep, *drop)):
            raise InputError(f"this picture has only the visual tokens 0 to {image.tokens - 1}")
        origin = None if image.origin is None else tuple(image.origin.tolist())
        return cls(reducer, keep=tuple(keep), drop=tuple(drop), tiles=image.tiles, origin=origin)

    def excess(self, tokens: int, anatomy: Anatomy) -> str:
        """One sentence if more tokens are forced in than a cut keeps, else ""; `tokens` are those of each tile."""
        for layer, count in self.reducer.schedule(tokens, anatomy, self.tiles).items():
            budget = count if layer else count * self.tiles
            if len(self.keep) > budget:
                where = f"layer {layer}" if layer else "the entrance of the language model"
                return f"{len(self.keep)} tokens are forced in, so all of them pass {where}, where {budget} would."
        return ""

    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """The method's, with room for what is forced in; only what is forced out if it cuts nothing.

        Raises InputError if a token does not exist or none would be left.
        """
        total = tokens * tiles if self.origin is None else len(self.origin)
        if len(self.drop) >= total:
            raise InputError("all visual tokens are forced out; leave at least one")
        if tiles == self.tiles and any(token >= total for token in self.keep + self.drop):
            raise InputError(f"this picture has only the visual tokens 0 to {total - 1}")
        cuts = self.reducer.schedule(tokens, anatomy, tiles)
        if not cuts and self.drop:
            return {0: tokens - len(self.drop) if tiles == 1 else tokens}  # of several tiles, each loses its own
        room = {layer: max(count, len(self.keep) if layer or tiles == 1 else 0) for layer, count in cuts.items()}
        return {layer: count for layer, count in room.items() if count < (total if layer else tokens)}

    @property
    def unsure_below(self) -> float | None:
        """As in the method."""
        return self.reducer.unsure_below

    @property
    def first_reading(self) -> Forced:
        """The method's, with the same tokens forced."""
        return replace(self, reducer=self.reducer.first_reading)

    def without_later_cuts(self) -> Forced | None:
        """The method's, with the same tokens forced."""
        alone = self.reducer.without_later_cuts()
        return replace(self, reducer=alone) if isinstance(alone, Reducer) else None

    def cut_layers(self, anatomy: Anatomy) -> tuple[int, ...]:
        """Those of the method, and the entrance for what is forced out where it cuts nothing."""
        return tuple(sorted({*self.reducer.cut_layers(anatomy), *((0,) if self.drop else ())}))

    def at_entrance(self, tokens: int, anatomy: Anatomy) -> int | None:
        """As in the schedule of the picture."""
        return self.schedule(tokens, anatomy, self.tiles).get(0)

    @property
    def adaptive(self) -> bool:
        """As in the method; each of several tiles also has its own forced tokens."""
        return self.reducer.adaptive or self.tiles > 1

    def entrance_bounds(self, tokens: int, anatomy: Anatomy) -> tuple[int, int]:
        """Of several tiles, any may have all the forced tokens."""
        if self.tiles == 1:
            return super().entrance_bounds(tokens, anatomy)
        least, most = self.reducer.entrance_bounds(tokens, anatomy)
        return max(0, min(least, tokens - len(self.drop))), max(most, min(tokens, len(self.keep)))

    def needs(self, anatomy: Anatomy) -> Needs:
        """As in the method. Raises InputError if it merges inside the vision encoder, or sees all frames at once."""
        found = self.reducer.needs(anatomy)
        if found.blocks:
            raise InputError(f"{self.reducer.title} merges tokens inside the vision encoder, so none can be forced")
        if self.reducer.sees_all_tiles:
            raise InputError(f"{self.reducer.title} looks at all frames of a video, so no token can be forced")
        return found if 0 in self.reducer.cut_layers(anatomy) else Needs()

    def select(self, signals: Signals, keep: int) -> Selection:
        """The method's choice with tokens forced in or out, of a picture that is one tile."""
        return self.select_tiles(signals.as_tiles(), keep)[0]

    def select_tiles(self, tiles: Signals, keep: int) -> list[Selection]:
        """Tile by tile. Raises InputError unless these are the tiles of the picture."""
        return self.select_in_regions(tiles, keep, [None] * self.tiles)

    def select_in_regions(self, tiles: Signals, keep: int, regions: Sequence[Region | None]) -> list[Selection]:
        """Tile by tile. Raises InputError unless these are the tiles of the picture."""
        each = tiles.each()
        if len(each) != self.tiles:
            raise InputError(f"tokens are forced for a picture of {self.tiles} tiles, but {len(each)} were encoded")
        if self.reducer.sees_padding or not regions:
            regions = [None] * self.tiles
        made = [self._select_tile(one, number, keep, regions[number]) for number, one in enumerate(each)]
        return alike(made, each[0].tokens)

    def _select_tile(self, signals: Signals, number: int, keep: int, region: Region | None) -> Selection:
        into, out = (self._marks(tokens, number * signals.tokens, signals) for tokens in (self.keep, self.drop))
        if region is None:
            return self._force(signals, keep, into, out)
        assert signals.grid is not None
        index = region.indices(signals.grid[1], signals.device)

        def choose(part: Signals, keep: int) -> list[Selection]:
            return [self._force(part.each()[0], keep, into[index], out[index])]

        (made,) = region.choices(choose, signals.as_tiles(), keep)
        return made

    def _force(self, signals: Signals, keep: int, into: Tensor, out: Tensor) -> Selection:
        rows = signals.projected if signals.projected is not None else signals.features
        return force(partial(self.reducer.select, signals), keep, into, out, rows)

    def select_in_llm(self, signals: Signals, keep: int) -> Selection:
        """The method's choice at a later cut, with tokens forced in or out."""
        assert signals.indices is not None
        device = signals.indices.device
        into, out = (torch.isin(signals.indices, torch.tensor(one, device=device)) for one in (self.keep, self.drop))
        return force(partial(self.reducer.select_in_llm, signals), keep, into, out, signals.hidden)

    def _marks(self, tokens: Sequence[int], start: int, signals: Signals) -> Tensor:
        """(tokens of the tile,) bool: which of its tokens are among `tokens` of the picture."""
        sources = tokens if self.origin is None else [self.origin[token] for token in tokens]
        inside = [source - start for source in sources if start <= source < start + signals.tokens]
        marks = torch.zeros(signals.tokens, dtype=torch.bool)
        marks[inside] = True
        return marks.to(signals.device)

    def position_mode(self, anatomy: Anatomy) -> str:
        """As in the method, unless set here."""
        return self.positions or self.reducer.position_mode(anatomy)

    def uses_rope(self, anatomy: Anatomy) -> bool:
        """As in the method, unless set here."""
        return self.reducer.uses_rope(anatomy) if self.rope_in_scores is None else self.rope_in_scores

    @property
    def scores_with_text(self) -> bool:
        """As in the method."""
        return self.reducer.scores_with_text

    def query_tokens(self, visual: Tensor, text: Tensor) -> Tensor:
        """As in the method."""
        return self.reducer.query_tokens(visual, text)

    @property
    def needs_in_llm(self) -> frozenset[str]:
        """Those of the method, and which tokens are left."""
        return self.reducer.needs_in_llm | {"indices"}

    @property
    def merges_in_llm(self) -> bool:
        """As in the method."""
        return self.reducer.merges_in_llm

    def score_layer(self, cut: int) -> int:
        """As in the method."""
        return self.reducer.score_layer(cut)
