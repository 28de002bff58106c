"""What became of every visual token, read from the trace of a run: nothing is planned or guessed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from vscan_core.trace import Cut, ImageTrace

REPLACING = "basis"  # the label of such places, see `reducers.apet`


class Fate(IntEnum):
    """What can become of a visual token."""

    GLOBAL = 0  # kept: important for the picture as a whole
    LOCAL = 1  # kept: important in its own neighbourhood
    KEPT = 2  # kept for another reason, or because nothing was cut
    MERGED = 3  # dropped before the language model, averaged into a kept token
    DROPPED = 4  # dropped before the language model
    PRUNED = 5  # dropped inside the language model


@dataclass(frozen=True)
class Fates:
    """The fate of each visual token of one image, and the counts that a legend needs."""

    codes: NDArray[np.uint8]  # (tokens,) Fate values
    pruned_at: dict[int, int]  # {decoder layer: tokens dropped at its entrance}
    replaced: NDArray[np.bool_]  # (tokens,) kept places at which the language model sees another token

    def count(self, fate: Fate) -> int:
        """Number of tokens with this fate."""
        return int((self.codes == fate).sum())

    @property
    def kept(self) -> int:
        """Number of tokens that are still there."""
        return int(self.alive.sum())

    @property
    def alive(self) -> NDArray[np.bool_]:
        """(tokens,) whether each token is still there."""
        return np.isin(self.codes, (Fate.GLOBAL, Fate.LOCAL, Fate.KEPT))


def fates(image: ImageTrace, cuts: int | None = None) -> Fates:
    """Read the fates after the first `cuts` cuts (None: after all of them) from what was recorded."""
    codes = np.full(image.tokens, Fate.KEPT, np.uint8)
    alive, replaced = np.ones(image.tokens, bool), np.zeros(image.tokens, bool)
    pruned_at: dict[int, int] = {}
    for cut in image.cuts[:cuts]:
        stays = np.zeros(image.tokens, bool)
        stays[cut.kept.cpu().numpy()] = True
        if cut.layer == 0:
            codes = _after_cut_0(cut, stays)
        else:
            gone = alive & ~stays
            codes = np.where(gone, np.uint8(Fate.PRUNED), codes)
            pruned_at[cut.layer] = int(gone.sum())
        alive &= stays
        replaced[cut.labels[REPLACING].cpu().numpy() if REPLACING in cut.labels else []] = True
    return Fates(codes, pruned_at, replaced & alive)


def _after_cut_0(cut: Cut, stays: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fates after cut 0; a token that is both local and global counts as global."""
    codes = np.full(len(stays), Fate.KEPT, np.uint8)
    for name, fate in (("local", Fate.LOCAL), ("global", Fate.GLOBAL)):
        if name in cut.labels:
            codes[cut.labels[name].cpu().numpy()] = fate
    merged = cut.merged_into.cpu().numpy() >= 0
    codes[~stays] = Fate.DROPPED
    codes[merged & ~stays] = Fate.MERGED
    return codes
