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
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy, Cut, ImageTrace, Needs, Selection, Signals, View


@dataclass
class Encoded:
    """What the latest run of the vision side gave, for all its images."""

    images: list[ImageTrace] = field(default_factory=list)
    selections: list[Selection | None] = field(default_factory=list)  # None: this image was not cut
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
        family.check(self.needs)

    def hooks(self, current: Callable[[], Any], timed: Callable[[], Any]) -> list[Any]:
        """Register; `current()` gives the calling thread's state, or None if this call is not ours."""
        tower, projector = self.family.vision_tower(self.model), self.family.projector(self.model)

        def look(module: nn.Module, args: Any, kwargs: Any = None) -> None:
            if (state := current()) is not None:
                state.pixels = args[0] if args else kwargs["pixel_values"]
                state.rows, state.keys = {}, None

        def before(module: nn.Module, args: Any) -> Any:
            if (state := current()) is None:
                return None
            state.features, state.encoded = args[0], self._see(args[0], state.pixels)
            if not self.cuts or self.needs.projected:
                return None  # the projector sees every token
            with timed():
                self._select(state, projected=None)
            chosen = state.encoded.selections
            return (torch.cat([rows if c is None else c.apply(rows) for rows, c in zip(args[0], chosen, strict=True)]),)

        def after(module: nn.Module, args: Any, out: Tensor) -> Any:
            if (state := current()) is None:
                return None
            if not self.cuts:
                return None
            if not self.needs.projected:
                return self._scatter_and_mark(state, out)
            with timed():
                self._select(state, projected=out)
                return self._merge_and_mark(state, out)

        handles = [
            tower.register_forward_pre_hook(look, with_kwargs=True),
            projector.register_forward_pre_hook(before),
            projector.register_forward_hook(after),
        ]
        return handles + self._taps(current)

    def _taps(self, current: Callable[[], Any]) -> list[Any]:
        """Hooks that record the signals of inner vision layers."""
        handles: list[Any] = []

        def record(layer: int, scores: Tensor) -> None:
            if (state := current()) is not None:
                state.rows[layer] = scores

        def record_keys(layer: int, keys: Tensor) -> None:
            if (state := current()) is not None:
                state.keys = keys

        for layer in self.needs.cls_attention:
            handles += self.family.tap(self.model, layer, record)
        if self.needs.keys:
            handles += self.family.tap_keys(self.model, self.anatomy.feature_layer, record_keys)
        return handles

    def _see(self, features: Tensor, pixels: Tensor) -> Encoded:
        tokens = features.shape[1]
        boxes = self.family.boxes(tokens, *pixels.shape[-2:])
        views = getattr(pixels, "views", None) or [View()] * len(features)
        grid = self.family.grid(tokens)
        images = [ImageTrace(tokens=tokens, grid=grid, boxes=boxes, view=view) for view in views]
        return Encoded(images=images, selections=[None] * len(images))

    def signals(self, state: Any, i: int, projected: Tensor | None) -> Signals:
        """What was recorded of image i."""
        return Signals(
            features=state.features[i],
            projected=None if projected is None else projected[i],
            cls_attention={layer: rows[i] for layer, rows in state.rows.items()},
            keys=None if state.keys is None else state.keys[i],
            grid=state.encoded.images[i].grid,
        )

    def _select(self, state: Any, projected: Tensor | None) -> None:
        for i, image in enumerate(state.encoded.images):
            keep = self.reducer.schedule(image.tokens, self.anatomy).get(0)
            if keep is None:
                continue
            chosen = self.reducer.select(self.signals(state, i, projected), keep)
            nobody = torch.full((image.tokens,), -1, device=chosen.kept.device)
            merged = nobody if chosen.merged_into is None else chosen.merged_into
            image.cuts = [Cut(0, chosen.kept, dict(chosen.labels), merged, dict(chosen.scores))]
            state.encoded.selections[i] = chosen
            state.encoded.marked = True

    def _merge_and_mark(self, state: Any, projected: Tensor) -> Tensor | None:
        if not state.encoded.marked:
            return None  # untouched, bit for bit
        out = projected.clone()
        for i, chosen in enumerate(state.encoded.selections):
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
    chosen, image = state.encoded.selections[i], state.encoded.images[i]
    return torch.arange(image.tokens, device=state.features.device) if chosen is None else chosen.kept
