"""Pixel shuffle: several patches become one visual token before the projector, and so do their scores."""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt

import torch
from torch import Tensor, nn

from vscan_core.families.remembered import Remembered

_orders = Remembered()


def mean_over_patches(scores: Tensor, module: nn.Module, shuffle: Callable[[Tensor], Tensor]) -> Tensor:
    """(..., patches) -> (..., tokens): mean over the patches of each token, for square tiles.

    module: the one that shuffles, with which the order is remembered.
    """
    side = isqrt(scores.shape[-1])
    source = _orders.get(
        module, (side, scores.device), lambda: patches_of_tokens(shuffle, side, side).to(scores.device)
    )
    return scores[..., source].mean(-1)


def patches_of_tokens(shuffle: Callable[[Tensor], Tensor], rows: int, cols: int) -> Tensor:
    """(tokens, patches per token): the patches of a rows x cols grid in each projector row.

    Numbered patches go through the model's own shuffle (1, rows, cols, 1) -> (1, ..., patches per token), so
    that its order is not repeated here. float64 represents every number exactly.
    """
    numbers = torch.arange(rows * cols, dtype=torch.float64).view(1, rows, cols, 1)
    shuffled = shuffle(numbers)
    return shuffled.reshape(-1, shuffled.shape[-1]).long()
