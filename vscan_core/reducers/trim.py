"""TRIM: keep the tokens that CLIP relates to the question, and one mean of all others.

Source: TRIM, arXiv 2409.10994, section 3; sign as in the released code. Score: softmax over the patches of minus the
dot product of patch and question in CLIP's joint space. The sign is negative because on the second to last layer, from
which the patches are taken, relevant patches turn out to have the lower similarity (the authors found this
empirically).

But:
- the number of tokens follows from the retention (the paper's adaptive rule is `geometry.outliers` of the scores);
- the mean counts as one token of the budget and takes the place of the last dropped token, so that the order of the
  picture is kept (the released code appends it after all others).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.reducers.single_cut import AtEntrance
from vscan_core.selection import Anatomy, Needs, Selection, Signals


@dataclass(frozen=True)
class Trim(AtEntrance):
    """Needs the question and both halves of CLIP (`joint_space`); models whose tower is no CLIP are refused."""

    title: ClassVar[str] = "TRIM"
    summary: ClassVar[str] = "keep the tokens that CLIP relates to the question, and one mean of all others"
    paper: ClassVar[str] = "TRIM, arXiv 2409.10994"

    def needs(self, anatomy: Anatomy) -> Needs:
        """Patches and question in the joint space."""
        return Needs(joint=True)

    def select(self, signals: Signals, keep: int) -> Selection:
        """`keep` - 1 tokens by score, and the mean of the rest."""
        assert signals.joint_patches is not None and signals.joint_text is not None
        scores = relevance(signals.joint_patches, signals.joint_text)
        if keep >= len(scores):
            return Selection.top(scores, keep, "text")
        best = geometry.top(scores, keep - 1).sort().values
        return with_rest(best, scores, "text")


def relevance(patches: Tensor, text: Tensor) -> Tensor:
    """(tokens,) scores that sum to one; patches (tokens, dim), text (segments, dim), not normalised."""
    return (-(geometry.precise(patches) @ geometry.precise(text).mean(0))).softmax(0)


def with_rest(best: Tensor, scores: Tensor, name: str) -> Selection:
    """Keep `best` (kept,) ascending, and average all others into the last of these others."""
    dropped = torch.ones_like(scores).index_fill(0, best, 0)
    rest = len(scores) - 1 - dropped.flip(0).argmax(keepdim=True)
    kept = torch.cat([best, rest]).sort().values
    merged_into = rest.expand(len(scores)).index_fill(0, kept, -1)
    return Selection(kept=kept, labels={name: best, "rest": rest}, merged_into=merged_into, scores={name: scores})
