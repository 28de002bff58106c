"""Methods with a single cut at the entrance of the LLM that looks at all frames of a video together."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from vscan_core import geometry
from vscan_core.errors import InputError
from vscan_core.reducers.single_cut import AtEntrance
from vscan_core.selection import Anatomy, Needs, Selection, Signals

VIDEO_ONLY = "{method} compares the frames of a video, and this is a picture; please choose another method for pictures"


@dataclass(frozen=True)
class WholeVideo(AtEntrance):
    """Spreads one budget over the frames of a video: their number times the tokens of a frame times the retention."""

    @property
    def sees_all_tiles(self) -> bool:
        """Always."""
        return True

    def needs(self, anatomy: Anatomy) -> Needs:
        """Projected features."""
        return Needs(projected=True)

    def select(self, signals: Signals, keep: int) -> Selection:
        """Raises InputError: a single picture has no frames to compare."""
        raise InputError(VIDEO_ONLY.format(method=self.title))

    def select_tiles(self, tiles: Signals, keep: int) -> list[Selection]:
        """The choice among all frames, `keep` per frame on average. Raises InputError for a picture."""
        if not tiles.video:
            raise InputError(VIDEO_ONLY.format(method=self.title))
        assert tiles.projected is not None
        frames = geometry.precise(tiles.projected)
        return self.select_frames(frames, keep * len(frames)).split(len(frames))

    @abstractmethod
    def select_frames(self, frames: Tensor, keep: int) -> Selection:
        """Choose `keep` of the tokens of frames (frames, tokens, dim), which are counted frame by frame."""
