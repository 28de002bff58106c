"""Positions of three axes (M-RoPE) for pictures and videos of which some tokens are left out. No vLLM in here.

A kept token has the position that it has among all tokens, and the text after a picture has its own too. vLLM asks for
the positions of a prompt before the encoder has run, so those of the kept tokens are set when it has: they travel as
further columns of the features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BASE, CHANNELS = 128, 6  # half precision has every whole number up to 256: two digits for each of three axes


def media_positions(frames: int, rows: int, cols: int, step: float = 1.0) -> Tensor:
    """(tokens, 3) time, row and column of each token of a medium, from 0; `step` from one frame to the next."""
    time = (torch.arange(frames, dtype=torch.float64) * step).long()
    grid = torch.meshgrid(time, torch.arange(rows), torch.arange(cols), indexing="ij")
    return torch.stack(grid, -1).flatten(0, 2)


def with_positions(rows: Tensor, positions: Tensor) -> Tensor:
    """(tokens, dim) -> (tokens, dim + CHANNELS), from which `positions_in` reads."""
    digits = torch.cat([positions // BASE, positions % BASE], 1)
    return torch.cat([rows, digits.to(rows)], 1)


def positions_in(rows: Tensor) -> Tensor:
    """(tokens, 3) what `with_positions` wrote."""
    digits = rows[:, -CHANNELS:].long()
    return digits[:, :3] * BASE + digits[:, 3:]


def prompt_positions(length: int, media: Sequence[tuple[int, int, Tensor]]) -> tuple[Tensor, int]:
    """(3, length) of a prompt and what to add to later positions, for media given as (start, kept tokens, positions).

    positions: of all tokens of a medium; its first ones stand for those that are kept, until these are known.
    """
    parts: list[Tensor] = []
    at, following = 0, 0  # column, and position of the text there
    for start, kept, positions in sorted(media, key=lambda one: one[0]):
        text = start - at
        parts.append(torch.arange(text).expand(3, -1) + following)
        parts.append(positions[:kept].T + following + text)
        following, at = following + text + int(positions.max()) + 1, start + kept
    parts.append(torch.arange(length - at).expand(3, -1) + following)
    return torch.cat(parts, 1), following - at


def placed(before: Tensor, media: Tensor, computed: int, positions: Sequence[Tensor]) -> Tensor:
    """The prompt's positions, with those of the media tokens that a step adds.

    before (3, length): as they were. media (length,) bool: the placeholders. computed: how many columns earlier steps
    have done. positions: (tokens, 3) of the media, or parts of them, that follow.
    """
    after = before.clone()
    columns = media.nonzero()[:, 0]
    columns = columns[columns >= computed]
    every = torch.cat([one.to(before) for one in positions])
    columns = columns[: len(every)]
    index = torch.arange(len(media), device=media.device)
    text = index.where(~media, -1).cummax(0).values[columns]  # the last one before each medium
    start = torch.where(text >= 0, before[0, text.clamp(min=0)] + 1, 0)
    after[:, columns] = every.T + start
    return after
