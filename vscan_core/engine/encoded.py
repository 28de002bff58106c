"""The result of the vision side, and the check that it fits the placeholders of the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vscan_core.errors import InputError
from vscan_core.families.tiles import PerTile, TokenLayout, joined, joined_merges
from vscan_core.selection import Selection
from vscan_core.trace import ImageTrace


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
        if not found or not needed:
            return  # a later turn, without a picture
        copies = found // needed  # rows per prompt: one for each beam
        if copies == 0 or found % needed or len(placeholders) % copies:
            raise InputError(
                f"the prompt has {found} image placeholders, but its pictures become {needed} visual tokens; "
                "prepare them together, in one call of the model's own processor, with one placeholder per picture"
            )

    def keep(self, features: PerTile, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The kept tokens (kept,) of all tiles, of `sizes`, counted over all of them, and their rows (kept, dim)."""
        device = next(one.kept.device for one in self.selections if one is not None)
        chosen = [
            Selection(torch.arange(size, device=device)) if one is None else one
            for one, size in zip(self.selections, sizes, strict=True)
        ]
        kept, merged = joined([one.kept for one in chosen], sizes), joined_merges(chosen, sizes)
        if any(one.mix is not None for one in chosen):
            return kept, torch.cat([one.apply(rows) for one, rows in zip(chosen, features, strict=True)])
        if merged is None and torch.is_tensor(features):  # the rows of some towers do not follow one another in memory
            return kept, features[kept // sizes[0], kept % sizes[0]] if len(sizes) > 1 else features[0][kept]
        rows = features.flatten(0, 1) if torch.is_tensor(features) else torch.cat(features)
        return kept, Selection(kept, merged_into=merged).apply(rows)


@dataclass
class MergeState:
    """One run of the vision encoder: the merges so far."""

    drops: list[int]  # tokens to merge in each block
    size: Tensor  # (tiles, tokens) patches that each token stands for, CLS first
    group: Tensor  # (tiles, 1 + patches) index of the token that each patch is part of
    keys: Tensor | None = None  # (tiles, tokens, head_dim) head mean, of the block that merges next
    hidden: Tensor | None = None  # (tiles, tokens, dim) between attention and MLP, merged
    out: Tensor | None = None  # (tiles, tokens, dim) what the block returns
