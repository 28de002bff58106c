"""An auxiliary loss that teaches counting: at the centre of each thing, how many of its kind came so far?

From the answers alone the language model learns "none", "one" and "several", and no more.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.model import DIM, PREFIX
from vscan_eval.world.scene import MOST_ALIKE

RARE = (1.0, 3.0, 3.0, 5.0, 5.0, 5.0)
LAYER = 2  # of six; later layers read the number off it


class Ordinals(nn.Module):
    """A linear readout of the language model's third layer; only used to train."""

    def __init__(self, language: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(DIM)
        self.head = nn.Linear(DIM, MOST_ALIKE)
        self.hidden = torch.empty(0)
        language.layers[LAYER].register_forward_hook(self._listen)

    def _listen(self, layer: nn.Module, given: object, hidden: Tensor) -> None:
        self.hidden = hidden

    def loss(self, ordinal: Tensor) -> Tensor:
        """Cross entropy for ordinals (batch, visual) of the last forward pass; 0 is ignored, rare ones weigh more."""
        visual = self.hidden[:, PREFIX : PREFIX + ordinal.shape[1]]
        logits = self.head(self.norm(visual)).float()
        return F.cross_entropy(logits.flatten(0, 1), ordinal.flatten() - 1, torch.tensor(RARE), ignore_index=-1)
