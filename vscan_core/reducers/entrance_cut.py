"""What a method decides about the cut at the entrance of the LLM, and about merging inside the vision encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from vscan_core.regions import Region, chosen_in
from vscan_core.selection import Anatomy, Needs, Selection, Signals


class EntranceCut(ABC):
    """The part of a reducer that concerns cut 0."""

    def needs(self, anatomy: Anatomy) -> Needs:
        """The signals of cut 0. Raises InputError if the model lacks a layer that a setting names."""
        return Needs()

    @property
    def adaptive(self) -> bool:
        """Whether the number of tokens that pass cut 0 depends on the picture; it is then at most the budget."""
        return False

    @abstractmethod
    def select(self, signals: Signals, keep: int) -> Selection:
        """Cut 0: choose `keep` of the visual tokens of one image (or tile), by the signals in `needs`."""

    @property
    def sees_all_tiles(self) -> bool:
        """Whether cut 0 gets all tiles of one image, or all frames of one video, at once, and shares out the budget."""
        return False

    def select_tiles(self, tiles: Signals, keep: int) -> list[Selection]:
        """Cut 0 of several tiles of one grid, `tiles` of which is the first axis; one by one, unless overridden.

        keep: of every tile; on average, if the method `sees_all_tiles`.
        """
        return [self.select(one, keep) for one in tiles.each()]

    @property
    def sees_padding(self) -> bool:
        """Whether cut 0 also chooses among the padding in tiles, whose tokens never reach the LLM."""
        return False

    def select_in_regions(self, tiles: Signals, keep: int, regions: Sequence[Region | None]) -> list[Selection]:
        """As `select_tiles`, where the rest of a tile is padding: the tokens of `regions` are all that the method sees.

        regions: one per tile, None: all of it; (): all of every tile. A tile keeps `keep` tokens, or all of a smaller
        region. They are ignored if the method `sees_padding`.
        """
        return chosen_in(self.select_tiles, tiles, keep, () if self.sees_padding else regions)

    def drops(self, tokens: int, keep: int, blocks: int) -> list[int]:
        """Number of tokens to merge in each block of the vision encoder; called only if `needs` includes the blocks."""
        raise NotImplementedError

    def partners(self, keys: Tensor, drop: int, first_stays: bool) -> Tensor:
        """keys (images, tokens, dim) -> (images, tokens): the new index of each token among the `tokens - drop` left.

        first_stays: the first token is CLS, which never merges and stays first. Called only if `drops` is.
        """
        raise NotImplementedError
