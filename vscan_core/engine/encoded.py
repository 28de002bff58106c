"""The result of the vision side, and the check that it fits the placeholders of the prompt."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from vscan_core.errors import InputError
from vscan_core.families.tiles import TokenLayout
from vscan_core.selection import Selection
from vscan_core.trace import ImageTrace

KNOWN_PICTURE = (
    "the new tokens of this call hold no placeholder for its picture; in a later turn that goes on with a KV cache, "
    "leave out the pixels of pictures that the cache holds (what their cuts dropped stays dropped; `Conversation` "
    "recalls it)"
)


@dataclass
class Encoded:
    """The result of the latest run of the vision side, for all its images."""

    images: list[ImageTrace] = field(default_factory=list)
    layouts: list[TokenLayout] = field(default_factory=list)  # one per image
    selections: list[Selection | None] = field(default_factory=list)  # per tile; None: it was not cut
    marked: bool = False  # whether any row carries a mark
    early: Tensor | None = None  # (kept,) tokens over all tiles, if only these were projected

    def check(self, placeholders: Tensor) -> None:
        """Raise InputError unless the images exactly fill `placeholders` (batch, length) bool, once for each beam."""
        needed, found = sum(image.tokens for image in self.images), int(placeholders.sum())
        if not needed:
            return
        if not found:
            raise InputError(KNOWN_PICTURE)
        copies = found // needed  # rows per prompt: one for each beam
        if copies == 0 or found % needed or len(placeholders) % copies:
            raise InputError(
                f"the prompt has {found} image placeholders, but its pictures become {needed} visual tokens; "
                "prepare them together, in one call of the model's own processor, with one placeholder per picture"
            )


@dataclass
class MergeState:
    """One run of the vision encoder: the merges so far."""

    drops: list[int]  # tokens to merge in each block
    size: Tensor  # (tiles, tokens) patches that each token stands for, CLS first
    group: Tensor  # (tiles, 1 + patches) index of the token that each patch is part of
    keys: Tensor | None = None  # (tiles, tokens, head_dim) head mean, of the block that merges next
    hidden: Tensor | None = None  # (tiles, tokens, dim) between attention and MLP, merged
    out: Tensor | None = None  # (tiles, tokens, dim) what the block returns
