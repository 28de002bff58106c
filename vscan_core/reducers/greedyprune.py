"""GreedyPrune: inside the LLM, greedily keep the tokens that fit the question best and are not too similar.

Source: GreedyPrune, arXiv 2506.13166: the largest sum of saliency over a fixed number of tokens of which no two are
more similar than a threshold, solved greedily. Saliency is the cosine of a visual token and the last prompt token,
similarity that of two visual tokens. No attention is read.

But: no code was available to check the details of the paper, so this is the simplest interpretation:
- all tokens are compared as they enter `layer`, 2 as in FastV, and all cosines are of these hidden states;
- the threshold is .9; if it leaves too few tokens, the most salient of those excluded fill the budget;
- no token is kept unconditionally (such as the last visual one), and position ids follow the family.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch

from vscan_core import geometry
from vscan_core.errors import InputError
from vscan_core.reducers.single_cut import InsideOnce
from vscan_core.selection import Selection, Signals


@dataclass(frozen=True)
class GreedyPrune(InsideOnce):
    """GreedyPrune(retention=1/9) on 576 tokens and 32 layers: 576 into layers 0 and 1, 30 into the others."""

    title: ClassVar[str] = "GreedyPrune"
    summary: ClassVar[str] = (
        "inside the LLM, greedily keep the tokens that fit the question best and are not too similar"
    )
    paper: ClassVar[str] = "GreedyPrune, arXiv 2506.13166"

    _: KW_ONLY
    threshold: float = 0.9  # largest cosine of two kept tokens, as long as there are others

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -1 <= self.threshold <= 1:
            raise InputError(f"threshold must lie between -1 and 1, but is {self.threshold}")

    @property
    def needs_in_llm(self) -> frozenset[str]:
        """Hidden states alone."""
        return frozenset({"hidden", "question"})

    def select_in_llm(self, signals: Signals, keep: int) -> Selection:
        """The greedy set."""
        assert signals.hidden is not None and signals.question is not None
        unit = torch.nn.functional.normalize(geometry.precise(signals.hidden), dim=-1)
        fit = unit @ torch.nn.functional.normalize(geometry.precise(signals.question), dim=-1)
        kept = geometry.spread(fit, unit @ unit.T > self.threshold, fit, keep).sort().values
        return Selection(kept=kept, labels={"salient": kept}, scores={"text": fit})
