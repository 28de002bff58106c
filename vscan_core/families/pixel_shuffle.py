"""Pixel shuffle: several patches become one visual token before the projector, and so do their scores."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def patches_of_tokens(shuffle: Callable[[Tensor], Tensor], rows: int, cols: int) -> Tensor:
    """(tokens, patches per token): the patches of a rows x cols grid in each projector row.

    Numbered patches go through the model's own shuffle (1, rows, cols, 1) -> (1, ..., patches per token), so
    that its order is not repeated here. float64 represents every number exactly.
    """
    numbers = torch.arange(rows * cols, dtype=torch.float64).view(1, rows, cols, 1)
    shuffled = shuffle(numbers)
    return shuffled.reshape(-1, shuffled.shape[-1]).long()


def mean_over_patches(scores: Tensor, source: Tensor) -> Tensor:
    """(..., patches) -> (..., tokens): mean over the patches of each token."""
    return scores[..., source.to(scores.device)].mean(-1)
