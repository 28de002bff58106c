"""What Qwen2.5-VL and Qwen3-VL have in common: sizes of their own, and a kept token keeps its position (M-RoPE)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor
from vllm.multimodal.parse import ImageSize
from vllm.multimodal.processing import PromptReplacement
from vllm.platforms import current_platform
from vllm.utils.gpu_sync_debug import gpu_sync_allowed
from vllm.v1.attention.backends.registry import AttentionBackendEnum

from vscan_core.families.tiles import joined
from vscan_core.reducers import Reducer
from vscan_core.selection import Signals
from vscan_core.serving import reduce_tiles
from vscan_vllm.cutting import CutsAtEntrance, all_needs, methods_in
from vscan_vllm.mrope import CHANNELS, media_positions, placed, positions_in, prompt_positions, with_positions
from vscan_vllm.processing import SETTINGS_FIELDS, ItemShape, Reducing
from vscan_vllm.qwen_tower import look_at

PatchGrid = tuple[int, int, int]  # frames (pairs of them, in a video), rows and columns of visual tokens
NO_POSITIONS = (
    "on CPUs vLLM does not ask a model for positions again once tokens are left out, so {model} needs a GPU; "
    "without one, serve it as the stock architecture, or serve LLaVA"
)
ON = 1e-6  # a rate of vLLM's own pruning that drops nothing, but has it ask the model for positions


def asks_for_positions() -> bool:
    """Whether vLLM's worker on this platform asks, as `recompute_mrope_positions` needs."""
    return not current_platform.is_cpu()


class CountsPatches(Reducing):
    """Before a processor of vLLM: fewer placeholders, counted from the patches alone."""

    def shape_of(self, items: Any, modality: str, index: int) -> ItemShape:
        """The picture is stretched to whole patches, within the operator's limits."""
        size, frames = _size_of(items[modality], index, modality)
        prepare = self.info.get_image_processor() if modality == "image" else self.info.get_video_processor()
        made, tokens = self.info._get_vision_info(
            image_width=size.width, image_height=size.height, num_frames=max(1, frames), image_processor=prepare,
            mm_kwargs={}, modality=modality,
        )  # fmt: skip
        edge = prepare.patch_size * prepare.merge_size
        rows, cols = made.height // edge, made.width // edge
        return _shape((tokens // (rows * cols), rows, cols), modality)

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Sequence[Any]:
        reducer = self.reducer_in(hf_processor_mm_kwargs)
        merge = self.info.get_hf_config().vision_config.spatial_merge_size
        updates = super(Reducing, self)._get_prompt_updates(mm_items, {}, out_mm_kwargs)  # type: ignore[misc]

        def counted(update: Any) -> PromptReplacement:
            modality = update.modality

            def replacement(index: int) -> list[int]:
                frames, rows, cols = out_mm_kwargs[modality][index][f"{modality}_grid_thw"].data.tolist()
                shape = _shape((frames, rows // merge, cols // merge), modality)
                return list(update.target) * (shape.tokens if reducer is None else self.kept_of(shape, reducer))

            return PromptReplacement(modality=modality, target=update.target, replacement=replacement)

        return [counted(update) for update in updates]


def _shape(grid: PatchGrid, modality: str) -> ItemShape:
    frames, rows, cols = grid
    return ItemShape(((rows, cols),), rows * cols, frames * rows * cols, frames if modality == "video" else 0)


def _size_of(items: Any, index: int, modality: str) -> tuple[ImageSize, int]:
    """The size of a picture, 0; or of the frames of a video, which may come with a note about it, and their number."""
    if modality == "image":
        return items.get_image_size(index), 0
    item = items.get(index)
    frames = item[0] if isinstance(item, tuple) else item
    first: Any = frames[0]
    return ImageSize(first.shape[1], first.shape[0]) if hasattr(first, "shape") else ImageSize(*first.size), len(frames)


class CutsPatches(CutsAtEntrance):
    """Before a model class of vLLM: its tower is watched and its rows selected, each with its position.

    Behind its features a row may have others, for deeper layers of the LLM (deepstack): those of a kept token stay as
    they are, even if other tokens merge into it.
    """

    title: str
    visual: Any
    _parse_and_validate_multimodal_inputs: Callable[..., dict[str, Any]]  # vLLM's
    supports_tower_connector_lora = False  # it would count the kept tokens

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        if not asks_for_positions():
            raise ValueError(NO_POSITIONS.format(model=self.title))
        vllm_config.model_config.multimodal_config.video_pruning_rate = ON
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        if self.visual.attn_backend == AttentionBackendEnum.FLASHINFER:
            raise ValueError("scores cannot be read beside FlashInfer; choose another --mm-encoder-attn-backend")

    def embed_multimodal(self, **kwargs: Any) -> tuple[Tensor, ...]:
        """The rows of each picture and video; those of one batch may differ in method and rate."""
        methods = {modality: methods_in(kwargs, modality) for modality in SETTINGS_FIELDS}
        found: list[Tensor] = []
        for modality, given in self._parse_and_validate_multimodal_inputs(**kwargs).items():
            found += self._items(modality, given, methods[modality])
        return tuple(found)

    def _items(self, modality: str, given: Any, reducers: list[Reducer | None]) -> list[Tensor]:
        grids = given[f"{modality}_grid_thw"].tolist()
        steps = [1.0] * len(grids)
        if modality == "video" and given.get("second_per_grid_ts") is not None:
            rate = self.config.vision_config.tokens_per_second
            steps = [float(seconds) * rate for seconds in given["second_per_grid_ts"]]
        if given["type"].endswith("embeds"):
            embeds = given[f"{modality}_embeds"].type(self.visual.dtype)
            merge = self.visual.spatial_merge_size**2
            rows = list(embeds.split([frames * high * wide // merge for frames, high, wide in grids]))
            return [self._whole(one, grid, step) for one, grid, step in zip(rows, grids, steps, strict=True)]
        pixels = given["pixel_values" if modality == "image" else "pixel_values_videos"]
        if not any(reducers):
            reducers = [None] * len(grids)
        found: list[Tensor] = []
        for part in self._parts(grids):
            count = sum(map(prod, grids[part]))
            found += self._cut(pixels[:count], grids[part], reducers[part], steps[part], modality == "video")
            pixels = pixels[count:]
        return found

    def _parts(self, grids: list[PatchGrid]) -> list[slice]:
        """Items in groups for which memory was measured: vLLM counts the kept tokens alone."""
        most, merge = self.encoder_budget, self.visual.spatial_merge_size**2
        starts, sizes = [0], [prod(grid) // merge for grid in grids]
        for place in range(1, len(grids)):
            if sum(sizes[starts[-1] : place + 1]) > most:
                starts.append(place)
        return [slice(start, stop) for start, stop in pairwise([*starts, len(grids)])]

    def _cut(
        self, pixels: Tensor, grids: list[PatchGrid], reducers: list[Reducer | None], steps: list[float], video: bool
    ) -> list[Tensor]:
        rows, received = look_at(self.visual, pixels, grids, all_needs(reducers, self.anatomy))
        width = self.config.vision_config.out_hidden_size
        found, start = [], 0
        for grid, reducer, step in zip(grids, reducers, steps, strict=True):
            frames, high, wide = self._tokens(grid)
            stop = start + frames * high * wide
            mine, deep = rows[start:stop].tensor_split([width], 1)
            kept = torch.arange(stop - start)
            keep = None if reducer is None else reducer.at_entrance(high * wide, self.anatomy)
            positions = media_positions(frames, high, wide, step)
            if reducer is not None and keep is not None:
                signals = Signals(
                    projected=mine.view(frames, high * wide, -1),
                    received={layer: one[start:stop].view(frames, -1) for layer, one in received.items()},
                    grid=(high, wide),
                    video=video,
                )
                chosen, parts = reduce_tiles(reducer, signals, keep, self.anatomy, _projected)
                mine, kept = torch.cat(parts), joined([one.kept for one in chosen], [high * wide] * frames)
            kept = kept.to(mine.device)
            found.append(with_positions(torch.cat([mine, deep[kept]], 1), positions.to(mine.device)[kept]))
            start = stop
        return found

    def _tokens(self, grid: PatchGrid) -> PatchGrid:
        merge = self.visual.spatial_merge_size
        return grid[0], grid[1] // merge, grid[2] // merge

    def _whole(self, rows: Tensor, grid: PatchGrid, step: float) -> Tensor:
        return with_positions(rows, media_positions(*self._tokens(grid), step).to(rows.device))

    def media_in(self, mm_features: list[Any]) -> Iterable[tuple[int, tuple[int, int, int, float]]]:
        """(first token, (frames, rows, columns, step from one frame to the next)) of each picture or video."""
        raise NotImplementedError

    def get_mrope_input_positions(self, input_tokens: list[int], mm_features: list[Any]) -> tuple[Tensor, int]:
        """Those of the text are final; the kept tokens get theirs when the encoder has run."""
        kept = {one.mm_position.offset: one.mm_position.length for one in mm_features}
        media = [(start, kept[start], media_positions(*grid)) for start, grid in self.media_in(mm_features)]
        return prompt_positions(len(input_tokens), media)

    def recompute_mrope_positions(
        self,
        input_ids: Any,
        multimodal_embeddings: Sequence[Tensor],
        mrope_positions: Tensor,
        num_computed_tokens: int,
    ) -> tuple[list[Tensor], Tensor, int]:
        """The features without their positions, the prompt's positions, and what to add to later ones."""
        with gpu_sync_allowed():
            ids = torch.as_tensor(input_ids, device=mrope_positions.device)
            media = (ids == self.config.image_token_id) | (ids == self.config.video_token_id)
            if multimodal_embeddings:
                found = [positions_in(one) for one in multimodal_embeddings]
                mrope_positions = placed(mrope_positions, media, num_computed_tokens, found)
            delta = int(mrope_positions.max()) + 1 - len(ids)
        return [one[:, :-CHANNELS] for one in multimodal_embeddings], mrope_positions, delta


def _projected(rows: Tensor) -> Tensor:
    """The merger has already run."""
    return rows
