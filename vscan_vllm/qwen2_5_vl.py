"""Qwen2.5-VL with fewer visual tokens, in pictures and videos; a kept token keeps its position (M-RoPE)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
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
    "on CPUs vLLM does not ask a model for positions again once tokens are left out, so Qwen2.5-VL needs a GPU; "
    "without one, serve it as the stock architecture, or serve LLaVA"
)
ON = 1e-6  # a rate of vLLM's own pruning that drops nothing, but has it ask the model for positions


def asks_for_positions() -> bool:
    """Whether vLLM's worker on this platform asks, as `recompute_mrope_positions` needs."""
    return not current_platform.is_cpu()


class QwenProcessor(Reducing, Qwen2_5_VLMultiModalProcessor):
    """Stock, with fewer placeholders, counted from the patches alone."""

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
        updates = Qwen2_5_VLMultiModalProcessor._get_prompt_updates(self, mm_items, {}, out_mm_kwargs)

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


@MULTIMODAL_REGISTRY.register_processor(
    QwenProcessor, info=Qwen2_5_VLProcessingInfo, dummy_inputs=Qwen2_5_VLDummyInputsBuilder
)
class VScanQwen25VL(CutsAtEntrance, Qwen2_5_VLForConditionalGeneration):
    """Stock, with its tower watched and its rows selected, each with its position."""

    supports_tower_connector_lora = False  # it would count the kept tokens

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        if not asks_for_positions():
            raise ValueError(NO_POSITIONS)
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
        found, start = [], 0
        for grid, reducer, step in zip(grids, reducers, steps, strict=True):
            frames, high, wide = self._tokens(grid)
            stop = start + frames * high * wide
            mine, kept = rows[start:stop], torch.arange(stop - start)
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
            found.append(with_positions(mine, positions.to(mine.device)[kept.to(mine.device)]))
            start = stop
        return found

    def _tokens(self, grid: PatchGrid) -> PatchGrid:
        merge = self.visual.spatial_merge_size
        return grid[0], grid[1] // merge, grid[2] // merge

    def _whole(self, rows: Tensor, grid: PatchGrid, step: float) -> Tensor:
        return with_positions(rows, media_positions(*self._tokens(grid), step).to(rows.device))

    def get_mrope_input_positions(self, input_tokens: list[int], mm_features: list[Any]) -> tuple[Tensor, int]:
        """Those of the text are final; the kept tokens get theirs when the encoder has run."""
        kept = {one.mm_position.offset: one.mm_position.length for one in mm_features}
        media = [(start, kept[start], media_positions(*grid)) for start, *grid in self.iter_mm_grid_thw(mm_features)]
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
