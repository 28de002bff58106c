"""Cut 0: watch the vision side of a model, let the reducer choose, mark the dropped rows in band.

A dropped token becomes a row of -inf after the projector. The model's own packing and scatter code carries the mark
to the entrance of the LLM, where `decoding` removes the row: no placeholder arithmetic, no second path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vscan_core import geometry
from vscan_core.engine.encoded import Encoded
from vscan_core.engine.encoder_merge import EncoderMerge, finish
from vscan_core.families.base import Family
from vscan_core.families.tiles import TiledPicture, TokenLayout, tiled
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy, Needs, Selection, Signals


class VisionSide:
    """Hooks on vision tower and projector for one reducer (None: only watch)."""

    def __init__(
        self, model: nn.Module, family: Family, reducer: Reducer | None, anatomy: Anatomy, needs: Needs | None = None
    ) -> None:
        self.model, self.family, self.anatomy = model, family, anatomy
        self.reducer: Any = reducer
        self.cuts = reducer is not None and 0 in reducer.cut_layers(anatomy)
        self.needs = reducer.needs(anatomy) if reducer is not None and self.cuts else needs or Needs()
        family.check(self.needs)
        self.merging = EncoderMerge(model, family, reducer, anatomy) if self.needs.blocks else None

    def hooks(self, current: Callable[[], Any], timed: Callable[[], Any]) -> list[Any]:
        """Register; `current()` gives the calling thread's state, or None if this call is not ours."""
        towers, projector = self.family.vision_towers(self.model), self.family.projector(self.model)
        mine = _at_work(current)

        def look(module: nn.Module, args: Any, kwargs: Any = None) -> None:
            if (state := mine()) is not None:
                state.seen = self.family.tiles(self.model, module, args, kwargs)
                state.rows, state.keys = {}, None
                if self.merging is not None:
                    self.merging.start(state, next(module.parameters()).device)

        def before(module: nn.Module, args: Any) -> Any:
            return None if (state := mine()) is None else self._select_early(state, args[0], timed)

        def after(module: nn.Module, args: Any, out: Tensor) -> Any:
            if (state := mine()) is None:
                return None
            marked = self._mark(state, out, timed) if self.cuts else None
            if state.seen.layouts is not None:
                self._publish(state, state.seen.layouts)
            elif state.seen.side is not None:
                self._publish(state, self._group(state))
            return marked

        def packed(layouts: list[TokenLayout]) -> None:
            if (state := mine()) is not None:
                self._publish(state, layouts)

        handles = self._taps(mine)  # first: they may refuse
        handles += [
            *(tower.register_forward_pre_hook(look, with_kwargs=True) for tower in towers),
            projector.register_forward_pre_hook(before),
            projector.register_forward_hook(after),
        ]
        if self.merging is not None:
            handles += self.merging.hooks(mine)
        return handles + self.family.hook_packing(self.model, packed)

    def _select_early(self, state: Any, rows: Tensor, timed: Callable[[], Any]) -> tuple[Tensor] | None:
        """The rows that the projector gets, where dropped tokens need not be projected at all; None: all of them."""
        state.features = state.seen.split(rows) if state.seen.order is None else None
        state.encoded = Encoded(tiles=[None] * len(state.seen.grids))
        if self.merging is not None and state.merging is not None:
            with timed():
                state.encoded.tiles, merged = finish(state.merging, rows)
            state.encoded.marked = True
            return (torch.cat(merged),)
        if self.merging is not None or not self.cuts or not self._gathers(state):
            return None
        with timed():
            self._select(state, projected=None)
        pairs = zip(state.features, state.encoded.tiles, strict=True)
        return (torch.cat([part if chosen is None else chosen.apply(part) for part, chosen in pairs]),)

    def _taps(self, current: Callable[[], Any]) -> list[Any]:
        """Hooks that record the signals of inner vision layers."""
        handles: list[Any] = []

        def record(layer: int, scores: Tensor) -> None:
            if (state := current()) is not None:
                state.rows[layer] = scores if state.seen.order is None else state.seen.split(scores)

        def record_keys(layer: int, keys: Tensor) -> None:
            if (state := current()) is not None:
                state.keys = keys

        try:
            for layer in self.needs.cls_attention:
                handles += self.family.hook_scores(self.model, layer, record)
            if self.needs.keys:
                handles += self.family.hook_keys(self.model, self.anatomy.feature_layer, record_keys)
        except BaseException:  # one of several refused: the others go too
            for handle in handles:
                handle.remove()
            raise
        return handles

    def signals(self, state: Any, i: int, projected: list[Tensor] | None) -> Signals:
        """What was recorded of tile i."""
        rows = {layer: table[i] for layer, table in state.rows.items()}
        return Signals(
            features=None if state.features is None else state.features[i],
            projected=None if projected is None else projected[i],
            cls_attention=rows if self.anatomy.has_cls else {},
            received={} if self.anatomy.has_cls else rows,
            keys=None if state.keys is None else state.keys[i],
            grid=state.seen.grids[i],
        )

    def _gathers(self, state: Any) -> bool:
        """Whether dropped tokens need not be projected at all."""
        return state.seen.order is None and not state.seen.lead and not self.needs.projected

    def _mark(self, state: Any, out: Tensor, timed: Callable[[], Any]) -> Tensor | None:
        if self.merging is not None and state.merging is None:
            return None  # nothing has merged
        if self._gathers(state):
            return self._scatter_and_mark(state, out)
        with timed():
            projected = state.seen.split(out)
            self._select(state, projected)
            return self._merge_and_mark(state, projected, out)

    def _select(self, state: Any, projected: list[Tensor] | None) -> None:
        if missing := set(self.needs.cls_attention) - set(state.rows):
            raise RuntimeError(
                f"layers {sorted(missing)} of the vision encoder ran without being seen, so there is nothing to select "
                "by; do not compile or replace the encoder as a whole inside `reduced(...)`"
            )
        chosen: list[Selection | None] = []
        for i, tokens in enumerate(state.seen.sizes):
            keep = self.reducer.at_entrance(tokens, self.anatomy)
            if keep is None:
                chosen.append(None)
                continue
            signals = self.signals(state, i, projected)
            with geometry.as_written(signals.device):
                chosen.append(self.reducer.select(signals, keep))
        state.encoded.tiles = chosen
        state.encoded.marked = any(one is not None for one in chosen)

    def _group(self, state: Any) -> list[TokenLayout]:
        """The images that loose tiles make: by the prompt, and where that leaves open how they lie, by the inputs."""
        grid, ids = state.seen.grids[0], state.prompt
        found = None if ids is None else self.family.pictures_in_prompt(self.model, ids, grid[0] * grid[1])
        views = state.views or []
        if found is not None and [one.tiles for one in found] == [view.tiles for view in views]:
            found = [TiledPicture(view.tiles, view.cut if view.tiles > 1 else None) for view in views]
        return tiled(found, len(state.seen.grids), grid, state.seen.side)

    def _publish(self, state: Any, layouts: list[TokenLayout]) -> None:
        """Tell the trace which images there are and what cut 0 did to them."""
        encoded, start = state.encoded, 0
        if state.views is not None and len(state.views) == len(layouts):
            layouts = [layout.placed(view) for layout, view in zip(layouts, state.views, strict=True)]
        encoded.images, encoded.layouts, state.fresh = [], layouts, True
        for layout in layouts:
            stop = start + layout.tiles
            encoded.images.append(layout.trace(state.seen.grids[start], encoded.tiles[start:stop]))
            start = stop
        if state.visual is not None:  # the prompt is already known
            encoded.check(state.visual)

    def _merge_and_mark(self, state: Any, projected: list[Tensor], out: Tensor) -> Tensor | None:
        if not state.encoded.marked:
            return None  # untouched, bit for bit
        tiles = []
        for rows, chosen in zip(projected, state.encoded.tiles, strict=True):
            if chosen is not None:
                mixed = chosen.apply(rows)
                rows = torch.full_like(rows, -torch.inf)
                rows[chosen.kept] = mixed
            tiles.append(rows)
        marked: Tensor = state.seen.join(tiles, out)
        return marked

    def _scatter_and_mark(self, state: Any, projected: Tensor) -> Tensor:
        shape = (len(state.features), state.seen.sizes[0], projected.shape[-1])
        out, start = projected.new_full(shape, -torch.inf), 0
        for i in range(len(out)):
            index = _kept(state, i)
            out[i, index] = projected[start : start + len(index)]
            start += len(index)
        return out


def _at_work(current: Callable[[], Any]) -> Callable[[], Any]:
    """The state, while features are on their way into the LLM: marks must not leak to who asks for features only."""

    def mine() -> Any:
        state = current()
        return state if state is not None and state.inside else None

    return mine


def _kept(state: Any, i: int) -> Tensor:
    chosen = state.encoded.tiles[i]
    return torch.arange(state.seen.sizes[i], device=state.features[i].device) if chosen is None else chosen.kept
