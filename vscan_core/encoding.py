"""Cut 0: watch the vision side of a model, let the reducer choose, mark the dropped rows in band.

A dropped token becomes a row of -inf after the projector. The model's own packing and scatter code carries the mark
to the entrance of the LLM, where `decoding` removes the row: no placeholder arithmetic, no second path.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from threading import get_ident
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from vscan_core.families.base import Family
from vscan_core.layout import Layout
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy, ImageTrace, Needs, Selection, Signals, View


@dataclass
class Encoded:
    """What the latest run of the vision side gave, for all its images."""

    images: list[ImageTrace] = field(default_factory=list)
    tiles: list[Selection | None] = field(default_factory=list)  # one per row of the projector; None: not cut
    marked: bool = False  # whether any row carries a mark


class Encoding:
    """Hooks on vision tower and projector for one reducer (None: only watch)."""

    def __init__(
        self, model: nn.Module, family: Family, reducer: Reducer | None, anatomy: Anatomy, needs: Needs | None = None
    ) -> None:
        self.model, self.family, self.anatomy = model, family, anatomy
        self.reducer: Any = reducer
        self.cuts = reducer is not None and 0 in reducer.cut_layers(anatomy)
        self.needs = reducer.needs(anatomy) if reducer is not None and self.cuts else needs or Needs()

    def hooks(self, current: Callable[[], Any], timed: Callable[[], Any]) -> list[Any]:
        """Register; `current()` gives the calling thread's state, or None if this call is not ours."""
        tower, projector = self.family.vision_tower(self.model), self.family.projector(self.model)

        def look(module: nn.Module, args: Any, kwargs: Any = None) -> None:
            if (state := current()) is not None:
                state.pixels = args[0] if args else kwargs["pixel_values"]
                state.rows = {}

        def before(module: nn.Module, args: Any) -> Any:
            if (state := current()) is None:
                return None
            state.features, state.encoded = args[0], Encoded(tiles=[None] * len(args[0]))
            if not self.cuts or self.reducer.merges:
                return None  # the projector sees every token
            with timed():
                self._select(state, projected=None)
            keep = [_kept(state, i) for i in range(len(args[0]))]
            return (torch.cat([rows[index] for rows, index in zip(args[0], keep, strict=True)]),)

        def after(module: nn.Module, args: Any, out: Tensor) -> Any:
            if (state := current()) is None:
                return None
            marked = self._mark(state, out, timed) if self.cuts else None
            if not self.family.packs:
                self._publish(state, self._one_tile_each(state))
            return marked

        def packed(layouts: list[Layout]) -> None:
            if (state := current()) is not None:
                self._publish(state, layouts)

        def record(layer: int, scores: Tensor) -> None:
            if (state := current()) is not None:
                state.rows[layer] = scores

        handles = [
            tower.register_forward_pre_hook(look, with_kwargs=True),
            projector.register_forward_pre_hook(before),
            projector.register_forward_hook(after),
        ]
        for layer in self.needs.cls_attention:
            handles += self.family.tap(self.model, layer, record)
        return handles + self.family.watch_packing(self.model, packed)

    def signals(self, state: Any, i: int, projected: Tensor | None) -> Signals:
        """What was recorded of tile i."""
        return Signals(
            features=state.features[i],
            projected=None if projected is None else projected[i],
            cls_attention={layer: rows[i] for layer, rows in state.rows.items()},
            grid=self.family.grid(state.features.shape[1]),
        )

    def _mark(self, state: Any, out: Tensor, timed: Callable[[], Any]) -> Tensor | None:
        if not self.reducer.merges:
            return self._scatter_and_mark(state, out)
        with timed():
            self._select(state, projected=out)
            return self._merge_and_mark(state, out)

    def _select(self, state: Any, projected: Tensor | None) -> None:
        keep = self.reducer.schedule(state.features.shape[1], self.anatomy).get(0)
        if keep is not None:
            tiles = range(len(state.features))
            state.encoded.tiles = [self.reducer.select(self.signals(state, i, projected), keep) for i in tiles]
            state.encoded.marked = True

    def _one_tile_each(self, state: Any) -> list[Layout]:
        """The layout where every tile is an image of its own."""
        tokens, pixels = state.features.shape[1], state.pixels
        views = getattr(pixels, "views", None) or [View()] * len(state.features)
        boxes = self.family.boxes(tokens, *pixels.shape[-2:])
        return [Layout(tiles=1, origin=None, boxes=boxes, view=view) for view in views]

    def _publish(self, state: Any, layouts: list[Layout]) -> None:
        """Tell the trace which images there are and what cut 0 did to them."""
        encoded, per_tile, start = state.encoded, state.features.shape[1], 0
        encoded.images = []
        for layout in layouts:
            image = layout.trace(per_tile)
            if layout.origin is None and layout.tiles == 1:
                image.grid = self.family.grid(per_tile)
            chosen = [one for one in encoded.tiles[start : start + layout.tiles] if one is not None]
            if chosen:
                image.cuts = [layout.cut(chosen, per_tile)]
            encoded.images.append(image)
            start += layout.tiles

    def _merge_and_mark(self, state: Any, projected: Tensor) -> Tensor | None:
        if not state.encoded.marked:
            return None  # untouched, bit for bit
        out = projected.clone()
        for i, chosen in enumerate(state.encoded.tiles):
            if chosen is not None:
                mixed = chosen.apply(projected[i])
                out[i] = -torch.inf
                out[i, chosen.kept] = mixed
        return out

    def _scatter_and_mark(self, state: Any, projected: Tensor) -> Tensor:
        shape = (*state.features.shape[:2], projected.shape[-1])
        out, start = projected.new_full(shape, -torch.inf), 0
        for i in range(len(out)):
            index = _kept(state, i)
            out[i, index] = projected[start : start + len(index)]
            start += len(index)
        return out


def look(model: nn.Module, family: Family, needs: Needs, pixels: Tensor) -> list[Signals]:
    """Run only the vision side on (images, channels, height, width) pixels; one Signals per image."""
    state, mine = SimpleNamespace(), get_ident()
    encoding = Encoding(model, family, None, family.anatomy(model), needs)
    handles = encoding.hooks(lambda: state if get_ident() == mine else None, nullcontext)
    try:
        projected = family.encode(model, pixels)
    finally:
        for handle in handles:
            handle.remove()
    return [encoding.signals(state, i, projected) for i in range(len(pixels))]


def _kept(state: Any, i: int) -> Tensor:
    chosen = state.encoded.tiles[i]
    return torch.arange(state.features.shape[1], device=state.features.device) if chosen is None else chosen.kept
