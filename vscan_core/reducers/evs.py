"""EVS: keep the tokens of a video that differ most from those of the previous frame.

Source: Efficient Video Sampling, arXiv 2510.14624, in the form that vLLM offers as `--video-pruning-rate`: one minus
the cosine of the projected features of a place in two consecutive frames, kept or not; the first frame always stays.

But: the paper itself compares the pixels of frames. The number of tokens is the retention of every frame, rounded,
times the number of frames, and a budget of less than the first frame is refused instead of exceeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.errors import InputError
from vscan_core.reducers.whole_video import WholeVideo
from vscan_core.selection import Selection

FIRST = 2.0  # more than any distance, so that the first frame stays
TOO_FEW = (
    "EVS always keeps the first frame, {tokens} tokens, and the retention leaves {keep} for all {frames} frames; "
    "please choose a retention of at least {least:.3g}"
)


@dataclass(frozen=True)
class EVS(WholeVideo):
    """Uses only the projected features of all frames: no attention, no text. Refuses pictures."""

    title: ClassVar[str] = "EVS"
    summary: ClassVar[str] = "keep the tokens of a video that differ most from those of the previous frame"
    paper: ClassVar[str] = "EVS, arXiv 2510.14624"

    def select_frames(self, frames: Tensor, keep: int) -> Selection:
        """The first frame and the tokens that changed most. Raises InputError if that frame alone is too much."""
        number, tokens = frames.shape[:2]
        if keep < tokens:
            raise InputError(TOO_FEW.format(tokens=tokens, keep=keep, frames=number, least=1 / number))
        change = changes(frames)
        kept = geometry.top(change.flatten(), keep).sort().values
        first = torch.arange(tokens, device=kept.device)
        return Selection(kept, {"first frame": first, "changed": kept[tokens:]}, scores={"change": change.flatten()})


def changes(frames: Tensor) -> Tensor:
    """frames (frames, tokens, dim) -> (frames, tokens): one minus the cosine to the previous frame; 2 in the first.

    A place that shows 0, 10 and 100 degrees -> 2, .015, 1.
    """
    unit = torch.nn.functional.normalize(geometry.precise(frames), dim=-1, eps=1e-8)
    cosine = (unit[1:] * unit[:-1]).sum(-1)
    return torch.cat([torch.full_like(unit[:1, :, 0], FIRST), 1 - cosine])
