"""VidCom2: keep more tokens of the frames of a video that are unlike the others.

Source: Video Compression Commander, arXiv 2505.14454, section 3. The tokens least like the video and like their own
frame stay, and a frame unlike the others has a larger budget. Likeness is a sum of five Gaussian kernels of the
distance to the mean of all tokens and to the mean of the own frame, on the half of the channels that varies least.

But: the number of tokens is exact, as in vLLM: the released code rounds in every frame, so that it may keep fewer or
more. What is missing is then taken from the whole video, and what is too much is given back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.reducers.whole_video import WholeVideo
from vscan_core.selection import Selection

WIDTHS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)  # of the kernels
TEMPERATURE = 0.01


@dataclass(frozen=True)
class VidCom2(WholeVideo):
    """Uses only the projected features of all frames: no attention, no text. Refuses pictures."""

    title: ClassVar[str] = "VidCom2"
    summary: ClassVar[str] = "keep more tokens of the frames of a video that are unlike the others"
    paper: ClassVar[str] = "VidCom2, arXiv 2505.14454"

    def select_frames(self, frames: Tensor, keep: int) -> Selection:
        """The tokens that are least like the video and like their own frame."""
        number, tokens = frames.shape[:2]
        video, frame = likeness(frames)
        planned = frame_budgets(video, keep / (number * tokens))
        alike = (video + frame).flatten()
        kept = most_unique(alike.view(number, tokens), planned, max(number, keep))
        return Selection(kept, {"unique": kept}, scores={"uniqueness": -alike})


def likeness(frames: Tensor) -> tuple[Tensor, Tensor]:
    """frames (frames, tokens, dim) -> how like the whole video, and how like its own frame, each token is.

    Both (frames, tokens), from 0 to 5.
    """
    rows = geometry.precise(frames)
    channels = rows.shape[-1]
    variance = rows.flatten(0, 1).var(0, correction=0)
    steady = geometry.top(-variance, max(1, channels // 2))
    unit = torch.nn.functional.normalize(rows.index_select(-1, steady), dim=-1)
    return _kernels(unit, unit.mean((0, 1))), _kernels(unit, unit.mean(1, keepdim=True))


def _kernels(unit: Tensor, centre: Tensor) -> Tensor:
    distance = (unit - centre).square().sum(-1)
    return torch.stack([torch.exp(-distance / (2 * width)) for width in WIDTHS]).sum(0)


def frame_budgets(video: Tensor, share: float) -> Tensor:
    """video (frames, tokens), the likeness to all of it -> (frames,) tokens to keep of each frame, at least 1.

    A frame that is less like the video than the others gets more than the `share` of its tokens.
    """
    unique = torch.softmax(-video.mean(1) / TEMPERATURE, 0)
    shares = (share * (1 + unique - unique.mean())).clamp(max=1)
    return (shares * video.shape[1]).round().long().clamp(min=1)


def most_unique(alike: Tensor, budgets: Tensor, keep: int) -> Tensor:
    """alike (frames, tokens), budgets (frames,) -> (keep,) ascending tokens of all frames.

    Those least alike within the budget of each frame; if these are too many or too few, the least alike of them, or
    of the others, decide. Ties go to the lowest index.
    """
    rank = alike.argsort(dim=1, stable=True).argsort(dim=1)
    outside = (rank >= budgets[:, None]).flatten()
    order = alike.flatten().argsort(stable=True)
    order = order[outside[order].long().argsort(stable=True)]
    return order[:keep].sort().values
