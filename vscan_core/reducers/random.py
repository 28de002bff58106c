"""Random: keep randomly drawn tokens, the same ones for the same seed.

Source: none; the baseline that every method should beat, although several do not at high reduction (UniPruneBench,
arXiv 2511.02650).
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch

from vscan_core.reducers.single_cut import AtEntrance
from vscan_core.selection import Selection, Signals


@dataclass(frozen=True)
class Random(AtEntrance):
    """Every token has the same probability. Images of the same size keep the same places."""

    title: ClassVar[str] = "Random"
    summary: ClassVar[str] = "keep randomly drawn tokens, the same ones for the same seed"
    paper: ClassVar[str] = ""

    _: KW_ONLY
    seed: int = 0

    def select(self, signals: Signals, keep: int) -> Selection:
        """Drawn on the CPU, so that every device draws the same."""
        make = torch.Generator().manual_seed(self.seed)
        drawn = torch.randperm(signals.tokens, generator=make)[:keep].sort().values.to(signals.device)
        return Selection(kept=drawn, labels={"random": drawn})
