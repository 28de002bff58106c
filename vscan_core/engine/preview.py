"""Preview a picture: run the vision side of a model once, then try cut 0 of any method without the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vscan_core.engine.compiled import uncompiled
from vscan_core.engine.entrance import choose_tiles
from vscan_core.engine.membership import Block, block_of, entered
from vscan_core.engine.shared_vision import SharedVision
from vscan_core.engine.state import State
from vscan_core.engine.vision_side import VisionSide
from vscan_core.errors import InputError
from vscan_core.families.base import Family
from vscan_core.families.tiles import PerTile, TokenLayout
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy, Needs, Signals
from vscan_core.trace import ImageTrace, View


@dataclass(frozen=True, eq=False)
class VisionPreview:
    """The signals that the vision side of a model gives for one picture. Made by `LVLM.preview`."""

    encoder: PreparedImage
    needs: Needs  # which signals were recorded
    tiles: list[Signals]  # one per tile
    token_layout: TokenLayout

    @property
    def signals(self) -> Signals:
        """The signals of a picture that is one tile. Raises InputError if it is several."""
        if len(self.tiles) > 1:
            raise InputError(
                f"this model sees the picture as {len(self.tiles)} tiles; use the signals in preview.tiles"
            )
        return self.tiles[0]

    @property
    def boxes(self) -> Tensor:
        """(tokens, 4) x0, y0, x1, y1 of every visual token, in pixels of the original; NaN for newlines."""
        return self.token_layout.view.place(self.token_layout.boxes)

    def trace(self, reducer: Reducer) -> ImageTrace:
        """The picture after cut 0 of `reducer`: the same tokens, labels and scores as in a run.

        This costs one selection; only a method that merges tokens inside the vision encoder runs it again.
        Raises ValueError if the reducer needs signals that were not recorded.
        """
        anatomy, grid = self.encoder.anatomy, self.tiles[0].grid
        assert grid is not None
        keep = reducer.at_entrance(grid[0] * grid[1], anatomy)
        if keep is None:
            return self.token_layout.trace(grid, [])
        needs = reducer.needs(anatomy)
        if needs.blocks:
            state, _ = self.encoder.run(reducer, needs)
            return state.encoded.images[0]
        if needs | self.needs != self.needs:
            raise ValueError(
                f"{type(reducer).__name__} needs signals that were not recorded; make a preview with this reducer"
            )
        together = Signals.together([tile.seen_by(needs) for tile in self.tiles])
        together = replace(together, video=reducer.sees_all_tiles and self.token_layout.view.frames > 0)
        return self.token_layout.trace(grid, choose_tiles(reducer, together, keep, self.token_layout.regions))


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """The vision side of a model, with a picture prepared by its processor."""

    model: Any
    family: Family
    anatomy: Anatomy
    batch: Mapping[str, Any]  # what the processor returned, without text
    views: Sequence[View]  # where the pixels lie in the original
    ids: Tensor | None = None  # (1, length) a prompt with this picture, which shows which tiles belong to it
    shared: SharedVision | None = None  # its blocks have run, with the signals of every preview
    questions: Sequence[str] | None = None  # the plain text of that prompt

    def preview(self, needs: Needs) -> VisionPreview:
        """Run the vision side once and record the signals in `needs`."""
        needs = replace(needs, blocks=False)
        state, tiles = self.run(None, needs)
        return VisionPreview(self, needs, tiles, state.encoded.layouts[0])

    @torch.inference_mode()
    def run(self, reducer: Reducer | None, needs: Needs) -> tuple[State, list[Signals]]:
        """Run the vision side with a reducer (None: nothing is cut): the hooks' state and every tile's signals."""
        state = State(depth=1, ids=self.ids, views=self.views, questions=self.questions)
        block = Block(self.model)

        def current() -> State | None:
            return state if block_of(self.model) is block else None

        vision_side = VisionSide(
            self.model, self.family, reducer, self.anatomy, needs, None if needs.blocks else self.shared
        )
        handles = vision_side.hooks(current, nullcontext)
        projected: PerTile = ()

        def record(module: nn.Module, args: Any, out: Tensor) -> None:
            nonlocal projected
            if current() is not None:
                projected = state.tiles.split(out)

        if reducer is None:
            handles.append(self.family.projector(self.model).register_forward_hook(record))
        try:
            with entered(block), uncompiled(self.model):
                self.family.encode(self.model, self.batch)
        finally:
            for handle in handles:
                handle.remove()
        return state, [vision_side.signals(state, projected, [i]).each()[0] for i in range(len(projected))]
