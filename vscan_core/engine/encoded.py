"""What a run of the vision side gave, and whether the prompt has room for just that."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from vscan_core.errors import InputError
from vscan_core.families.tiles import TokenLayout
from vscan_core.selection import Selection
from vscan_core.trace import ImageTrace


@dataclass
class Encoded:
    """What the latest run of the vision side gave, for all its images."""

    images: list[ImageTrace] = field(default_factory=list)
    layouts: list[TokenLayout] = field(default_factory=list)  # of the images
    selections: list[Selection | None] = field(default_factory=list)  # per tile; None: it was not cut
    marked: bool = False  # whether any row carries a mark

    def check(self, placeholders: Tensor) -> None:
        """Raise InputError unless the images fill the prompts' placeholders (batch, length), or those of each beam."""
        needed, found = sum(image.tokens for image in self.images), int(placeholders.sum())
        if not found or not needed:
            return  # a later turn, which brings no picture
        copies = found // needed  # of every prompt: one for each beam
        if copies == 0 or found % needed or len(placeholders) % copies:
            raise InputError(
                f"the prompt has {found} image placeholders, but its pictures become {needed} visual tokens; "
                "make prompt and pictures with one call of the model's own processor, one placeholder per picture"
            )


@dataclass
class MergeState:
    """One run of the encoder: what has merged so far."""

    drops: list[int]
    size: Tensor  # (tiles, tokens) patches that each token stands for, CLS first
    group: Tensor  # (tiles, 1 + patches) place of the token that each patch is part of
    keys: Tensor | None = None
    hidden: Tensor | None = None  # between attention and MLP, merged
    out: Tensor | None = None
