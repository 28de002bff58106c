"""Cut 0: record the signals of the vision side, let the reducer choose, mark the dropped rows in band.

A dropped token becomes a row of -inf after the projector. The model's own packing and scatter code carries the mark
to the entrance of the LLM, where `llm_side` removes the row: no placeholder arithmetic, no second path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vscan_core.engine.encoded import Encoded
from vscan_core.engine.encoder_merge import EncoderMerge, finish
from vscan_core.engine.entrance import choose_tiles, kept_rows
from vscan_core.engine.joint_signals import JointSignals
from vscan_core.engine.seen_together import TileGroup, of_one_grid, of_one_video
from vscan_core.engine.shared_vision import Replay, SharedVision
from vscan_core.engine.state import Current, State, Timed, while_model_runs
from vscan_core.engine.vision_signals import KEYS, SignalName, hook_signals, signal_names
from vscan_core.families.base import Family
from vscan_core.families.method_hook import MethodHook, Removable
from vscan_core.families.tile_grouping import tiled
from vscan_core.families.tiles import Arrange, PerTile, Tiles, TokenLayout, joined, picked
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy, Needs, Selection, Signals


class VisionSide:
    """Hooks on vision tower and projector for one reducer (None: nothing is cut, signals are recorded)."""

    def __init__(
        self,
        model: nn.Module,
        family: Family,
        reducer: Reducer | None,
        anatomy: Anatomy,
        needs: Needs | None = None,
        shared: SharedVision | None = None,
    ) -> None:
        self.model, self.family, self.anatomy, self.reducer = model, family, anatomy, reducer
        self.cuts = reducer is not None and 0 in reducer.cut_layers(anatomy)
        self.needs = reducer.needs(anatomy) if reducer is not None and self.cuts else needs or Needs()
        family.check(self.needs)
        self.joint = JointSignals(model, family) if self.needs.joint else None
        self.replay = None if shared is None else Replay(family, shared)
        self.encoder_merge = EncoderMerge(model, family, reducer, anatomy) if reducer and self.needs.blocks else None

    def hooks(self, current: Current, timed: Timed) -> list[Removable]:
        """Register; `current()` gives the calling thread's state, or None if this call is not ours."""
        towers, projector = self.family.vision_towers(self.model), self.family.projector(self.model)
        active = while_model_runs(current)

        def before_tower(module: nn.Module, args: Any, kwargs: Any = None) -> None:
            if (state := active()) is not None:
                with timed():
                    state.tiles = self._tiles(state, module, args, kwargs)
                    state.vision_signals = {}
                    if self.replay is not None:
                        self.replay.restore(state)
                    if self.encoder_merge is not None:
                        self.encoder_merge.start(state, next(module.parameters()).device)

        def before_projector(module: nn.Module, args: Any) -> Any:
            if (state := active()) is None:
                return None
            with timed():
                return self._select_early(state, args[0])

        def finished(out: Tensor, pooled: bool) -> Tensor | None:
            if (state := active()) is None:
                return None
            with timed():
                return self._finish(state, out, pooled)

        def around_pooling(run: Any, *args: Any, **kwargs: Any) -> Any:
            out = run(*args, **kwargs)
            return out if (marked := finished(out, pooled=True)) is None else marked

        def arranged(arrange: Arrange) -> None:
            if (state := active()) is not None:
                state.arrange = arrange

        # first, because they may raise
        handles = self._signal_hooks(active, timed) if self.replay is None else self.replay.hooks(active)
        handles += [
            *(tower.register_forward_pre_hook(before_tower, with_kwargs=True) for tower in towers),
            projector.register_forward_pre_hook(before_projector),
            projector.register_forward_hook(lambda module, args, out: finished(out, pooled=False)),
        ]
        if self.encoder_merge is not None:
            handles += self.encoder_merge.hooks(active, timed)
        if self.family.pooling:
            handles.append(MethodHook(self.family.base(self.model), self.family.pooling, around_pooling, "around"))
        return handles + self.family.hook_arrangement(self.model, arranged)

    def _tiles(self, state: State, tower: nn.Module, args: Any, kwargs: Any) -> Tiles:
        """Those of a call of the tower, with the layouts of their images where these are known."""
        tiles, arrange = self.family.tiles(self.model, tower, args, kwargs), state.arrange
        state.arrange = None
        if tiles.layouts is None and tiles.side is not None:  # by the prompt, and where this leaves it open, the views
            grid, ids = tiles.grids[0], state.prompt
            found = None if ids is None else self.family.pictures_in_prompt(self.model, ids, grid[0] * grid[1])
            return replace(tiles, layouts=tiled(found, state.views or [], len(tiles.grids), grid, tiles.side))
        return tiles if tiles.layouts is not None or arrange is None else arrange(tiles)

    def _select_early(self, state: State, rows: Tensor) -> tuple[Tensor] | None:
        """The rows to project, if dropped tokens need not be projected at all; None: all rows."""
        tiles, encoded = state.tiles, Encoded(selections=[None] * len(state.tiles.grids))
        state.features, state.encoded = tiles.split(rows) if tiles.places is None else None, encoded
        if self.encoder_merge is not None and state.merge_state is not None:
            chosen, merged = finish(state.merge_state, rows, tiles.inside(rows.device))
            encoded.selections, encoded.marked = list(chosen), True
            encoded.early = joined([one.kept for one in chosen], tiles.sizes)
            return (torch.cat(merged),)
        if self.encoder_merge is not None or not self.cuts or not self._drops_before_projector(state):
            return None
        self._select(state, projected=None)
        if not encoded.marked:
            return None
        assert state.features is not None  # rows come as (tiles, tokens, dim)
        encoded.early, rows = kept_rows(encoded.selections, state.features)
        return (rows,)

    def _signal_hooks(self, current: Current, timed: Timed) -> list[Removable]:
        def record(name: SignalName, compute: Callable[[], Tensor]) -> None:
            if (state := current()) is not None:
                with timed():
                    state.record_signals({name: compute()})

        return [*hook_signals(self.model, self.family, self.needs, record)]

    def signals(self, state: State, projected: PerTile | None, places: list[int]) -> Signals:
        """The signals of the tiles at `places`, of one grid, whose first axis is these tiles.

        projected: the projector's rows of every tile; None: not recorded.
        """
        found = {name: picked(rows, places) for name, rows in state.vision_signals.items()}
        scores, received = (
            {layer: rows for (kind, layer), rows in found.items() if kind == wanted}
            for wanted in ("cls_attention", "received")
        )
        # an encoder that ran before may have recorded more than is needed
        return Signals(
            features=picked(state.features, places),
            projected=picked(projected, places),
            cls_attention=scores if self.anatomy.has_cls else {},
            received=received if self.anatomy.has_cls else scores | received,
            keys=found.get(KEYS),
            grid=state.tiles.grids[places[0]],
            **({} if self.joint is None else self.joint.signals(state, places)),
        ).seen_by(self.needs)

    def _drops_before_projector(self, state: State) -> bool:
        tiles = state.tiles
        return tiles.places is None and tiles.pool is None and not tiles.lead and not self.needs.projected

    def _finish(self, state: State, out: Tensor, pooled: bool) -> Tensor | None:
        """Mark what the projector, or pooling behind it, returned as the tokens' rows, and report; None: no marks."""
        if pooled != (state.tiles.pool is not None):
            return None
        marked = self._mark(state, out) if self.cuts else None
        if state.tiles.layouts is not None:
            self._report_images(state, state.tiles.layouts)
        return marked

    def _mark(self, state: State, out: Tensor) -> Tensor | None:
        tiles, encoded = state.tiles, state.encoded
        if encoded.early is not None:
            return tiles.write(encoded.early, out.flatten(0, -2))
        if self.encoder_merge is not None or self._drops_before_projector(state):
            return None  # nothing has merged, or nothing is dropped
        projected = tiles.split(out) if tiles.pool is None else out.contiguous()
        self._select(state, projected)
        # what is not cut stays untouched, bit for bit
        return tiles.write(*kept_rows(encoded.selections, projected), out) if encoded.marked else None

    def _select(self, state: State, projected: PerTile | None) -> None:
        if missing := set(signal_names(self.needs)) - set(state.vision_signals):
            layers = sorted({self.anatomy.feature_layer if name == KEYS else name[1] for name in missing})
            raise RuntimeError(
                f"the hooks on layers {layers} of the vision encoder did not run, so there are no scores; "
                "do not compile or replace the encoder as a whole inside `reduced(...)`"
            )
        assert self.reducer is not None  # `cuts`
        chosen: list[Selection | None] = [None] * len(state.tiles.grids)
        for places, video in self._groups(state):
            grid = state.tiles.grids[places[0]]
            keep = self.reducer.at_entrance(grid[0] * grid[1], self.anatomy)
            if keep is None:
                continue
            signals = replace(self.signals(state, projected, places), video=video)
            found = choose_tiles(self.reducer, signals, keep, state.tiles.regions(places))
            for i, selection in zip(places, found, strict=True):
                chosen[i] = selection
        state.encoded.selections = chosen
        state.encoded.marked = any(one is not None for one in chosen)

    def _groups(self, state: State) -> list[TileGroup]:
        assert self.reducer is not None
        if self.reducer.sees_all_tiles:
            return of_one_video(state.tiles)
        return of_one_grid(state.tiles) if self.joint is None else self.joint.groups(state)

    def _report_images(self, state: State, layouts: list[TokenLayout]) -> None:
        """Report which images there are and what cut 0 did to them."""
        encoded, start = state.encoded, 0
        if state.views is not None and len(state.views) == len(layouts):
            layouts = [token_layout.placed(view) for token_layout, view in zip(layouts, state.views, strict=True)]
        encoded.images, encoded.layouts, state.fresh = [], layouts, True
        for token_layout in layouts:
            stop = start + token_layout.tiles
            encoded.images.append(token_layout.trace(state.tiles.grids[start], encoded.selections[start:stop]))
            start = stop
        if state.visual is not None:  # the prompt is already known
            encoded.check(state.visual)
