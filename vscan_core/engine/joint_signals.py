"""Patches and question in CLIP's joint space: for methods that compare them before the LLM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vscan_core.checkpoints.text_half import joint_space_of
from vscan_core.engine.seen_together import TileGroup, of_one_question
from vscan_core.engine.state import State
from vscan_core.errors import InputError
from vscan_core.families.base import Family
from vscan_core.families.tiles import picked

UNKNOWN = (
    "this method compares the question with the picture, and the question is not known here; pass its plain text: "
    'reduced(model, reducer, question="What is this?")'
)
UNCLEAR = (
    "this batch asks different questions, and its prompts do not tell which tiles belong to which; ask one question at "
    "a time"
)


class JointSignals:
    """The joint space of one model, and which question is asked about each tile. Raises InputError as that does."""

    def __init__(self, model: Any, family: Family) -> None:
        self.model, self.family, self.space = model, family, joint_space_of(model, family)

    def signals(self, state: State, places: list[int]) -> dict[str, Any]:
        """Of the tiles at `places`, with the same question: (places, tokens, dim) and (places, segments, dim)."""
        patches, text = self.space(picked(state.features, places), self.questions(state)[places[0]])
        return {"joint_patches": patches, "joint_text": text.expand(len(places), *text.shape)}

    def groups(self, state: State) -> list[TileGroup]:
        """The tiles of one size that the same question is about."""
        return of_one_question(state.tiles, self.questions(state))

    def questions(self, state: State) -> Sequence[str]:
        """The question about each tile of the prompt whose pictures are being encoded.

        Raises InputError if it is not known, and ValueError if there are not as many questions as prompts.
        """
        asked, tiles, ids = state.questions, len(state.tiles.grids), state.prompt
        if not asked or not all(one.strip() for one in asked):
            raise InputError(UNKNOWN)
        if len(asked) > 1 and ids is not None and len(ids) % len(asked):  # beam search repeats every row
            raise ValueError(f"there are {len(asked)} questions for {len(ids)} prompts; pass one for each")
        if len(set(asked)) == 1:
            return [asked[0]] * tiles
        size, sizes = state.tiles.sizes[0], state.image_sizes
        counts = None if ids is None else self.family.tiles_in_rows(self.model, ids, size, sizes)
        if counts is None or sum(counts) != tiles:
            raise InputError(UNCLEAR)
        copies = len(counts) // len(asked)
        return [asked[row // copies] for row, count in enumerate(counts) for _ in range(count)]
