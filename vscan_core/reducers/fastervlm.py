"""FasterVLM: keep the tokens that CLS attends to most.

Source: FasterVLM, arXiv 2412.01818v1: CLS row of the layer whose output the LLM sees, mean over heads, best first.
The same as VisPruner with important_share=1.

But: the projector receives only the kept tokens (with the same result, because it treats tokens separately); without a
CLS token, scores are received attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vscan_core.reducers.single_cut import AtEntrance
from vscan_core.selection import Anatomy, Needs, Selection, Signals


@dataclass(frozen=True)
class FasterVLM(AtEntrance):
    """A single ranking by attention."""

    title: ClassVar[str] = "FasterVLM"
    summary: ClassVar[str] = "keep the tokens that CLS attends to most"
    paper: ClassVar[str] = "FasterVLM, arXiv 2412.01818v1"

    def needs(self, anatomy: Anatomy) -> Needs:
        """CLS attention of the output layer."""
        return Needs(cls_attention=(anatomy.feature_layer,))

    def select(self, signals: Signals, keep: int) -> Selection:
        """The best `keep`."""
        return Selection.top(signals.salience, keep, "global")
