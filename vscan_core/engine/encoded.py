"""The result of the vision side, and the check that it fits the placeholders of the prompt."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from vscan_core.errors import InputError
from vscan_core.families.tiles import Tiles, TokenLayout
from vscan_core.selection import Selection
from vscan_core.trace import ImageTrace


@dataclass
class Encoded:
    """The result of the latest run of the vision side, for all its images."""

    images: list[ImageTrace] = field(default_factory=list)
    layouts: list[TokenLayout] = field(default_factory=list)  # one per image
    selections: list[Selection | None] = field(default_factory=list)  # per tile; None: it was not cut
    marked: bool = False  # whether any row carries a mark

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

    def merge_and_mark(self, tiles: Tiles, projected: list[Tensor], rows: Tensor) -> Tensor | None:
        """The projector's rows with dropped ones marked; `projected` (tokens, dim) per tile. None: nothing was cut."""
        if not self.marked:
            return None  # untouched, bit for bit
        marked = []
        for features, chosen in zip(projected, self.selections, strict=True):
            if chosen is not None:
                mixed = chosen.apply(features)
                features = torch.full_like(features, -torch.inf)
                features[chosen.kept] = mixed
            marked.append(features)
        joined: Tensor = tiles.join(marked, rows)
        return joined

    def scatter_and_mark(self, tokens: int, projected: Tensor) -> Tensor:
        """Rows of kept tokens, one tile after the other (1 or kept, dim) -> (tiles, tokens, dim), the others marked."""
        rows, every = projected.flatten(0, -2), torch.arange(tokens, device=projected.device)
        kept = [every if chosen is None else chosen.kept for chosen in self.selections]
        out = rows.new_full((len(kept) * tokens, rows.shape[-1]), -torch.inf)
        out[torch.cat([index + tile * tokens for tile, index in enumerate(kept)])] = rows
        return out.view(len(kept), tokens, -1)


@dataclass
class MergeState:
    """One run of the vision encoder: the merges so far."""

    drops: list[int]  # tokens to merge in each block
    size: Tensor  # (tiles, tokens) patches that each token stands for, CLS first
    group: Tensor  # (tiles, 1 + patches) index of the token that each patch is part of
    keys: Tensor | None = None  # (tiles, tokens, head_dim) head mean, of the block that merges next
    hidden: Tensor | None = None  # (tiles, tokens, dim) between attention and MLP, merged
    out: Tensor | None = None  # (tiles, tokens, dim) what the block returns
