"""What a method demands of the engine that runs it, so that an engine can say what it cannot run before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from vscan_core.selection import Needs

# signals of later cuts
OF_THE_QUESTION = frozenset({"text", "question", "text_normed", "text_rotated_keys", "text_values"})


@dataclass(frozen=True)
class EngineDemands:
    """What a method demands on one kind of model. Made by `Reducer.demands`."""

    cuts: tuple[int, ...]  # all layers at which an image may be cut, ascending; 0 = the entrance of the LLM
    needs: Needs  # the signals of the cut at the entrance; none if there is no such cut
    question_blind: bool  # every picture is cut in the same way, whatever is asked about it
    adaptive: bool  # how many tokens pass the entrance depends on the picture, not only on its size
    reads_twice: bool  # an answer that is unsure is asked for again with all visual tokens
    whole_video: bool  # all frames of a video are seen at once, and pictures are refused

    @property
    def entrance_only(self) -> bool:
        """Whether all cuts are at the entrance of the LLM, so that every layer sees the same tokens."""
        return not any(self.cuts)

    @property
    def merges_in_encoder(self) -> bool:
        """Whether tokens merge between the blocks of the vision encoder, which must be those of transformers."""
        return self.needs.blocks
