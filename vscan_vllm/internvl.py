"""InternVL with fewer visual tokens: the same budget for every tile of a picture, the thumbnail too. No videos."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from math import isqrt
from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.models.interns1 import (
    InternS1DummyInputsBuilder,
    InternS1ForConditionalGeneration,
    InternS1MultiModalProcessor,
    InternS1ProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.processing import PromptReplacement, PromptUpdateDetails

from vscan_core.families.pixel_shuffle import mean_over_patches
from vscan_core.reducers import Reducer
from vscan_core.selection import Needs
from vscan_core.serving import cls_row, received_in_each
from vscan_vllm.clip import Seen
from vscan_vllm.cutting import CutsAtEntrance, embedded, methods_in
from vscan_vllm.processing import ItemShape, Reducing


class PicturesOnly(InternS1ProcessingInfo):
    """Stock, without videos, whose frames have text of their own between them."""

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        """Any number of pictures."""
        return {"image": None}


class InternProcessor(Reducing, InternS1MultiModalProcessor):
    """Stock, with fewer placeholders between the marks of a picture."""

    def shape_of(self, items: Any, modality: str, index: int) -> ItemShape:
        """The processor's own rule says how many tiles a picture of this size has."""
        size, processor = items[modality].get_image_size(index), self.info.get_hf_processor()
        tokens = self.info.get_num_image_tokens(
            image_width=size.width, image_height=size.height, processor=processor, mm_kwargs={}
        )
        tile: int = processor.image_seq_length
        side = isqrt(tile)
        return ItemShape(((side, side),) * (tokens // tile), tile, tokens)

    def _shortened(self, update: Any, items: Any, reducer: Reducer) -> PromptReplacement:
        (placeholder,) = update.target

        def replacement(index: int) -> Any:
            ids = list(update.replacement(index).full)
            first, kept = ids.index(placeholder), self.kept_of(self.shape_of(items, update.modality, index), reducer)
            ids = [*ids[:first], *[placeholder] * kept, *ids[first + ids.count(placeholder) :]]
            return PromptUpdateDetails.select_token_id(ids, placeholder)

        return PromptReplacement(modality=update.modality, target=update.target, replacement=replacement)

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Sequence[Any]:
        updates = super()._get_prompt_updates(mm_items, hf_processor_mm_kwargs, out_mm_kwargs)
        return [update for update in updates if update.modality == "image"]


@MULTIMODAL_REGISTRY.register_processor(InternProcessor, info=PicturesOnly, dummy_inputs=InternS1DummyInputsBuilder)
class VScanInternVL(CutsAtEntrance, InternS1ForConditionalGeneration):
    """Stock, with its tower watched and the rows of every tile selected."""

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """The rows of each picture, tile by tile; pictures of one batch may differ in method and rate."""
        reducers = methods_in(kwargs)
        pictures = self._parse_and_validate_multimodal_inputs(**kwargs).get("images")
        if pictures is None or pictures["type"] != "pixel_values" or not any(reducers):
            return super().embed_multimodal(**kwargs)
        tiles = pictures["pixel_values"].split([int(count) for count in pictures["num_patches"]])
        return [self._picture(reducer, mine) for reducer, mine in zip(reducers, tiles, strict=True)]

    def _picture(self, reducer: Reducer | None, pixels: Tensor) -> Tensor:
        seen = self._look(pixels, Needs() if reducer is None else reducer.needs(self.anatomy))
        tokens = seen.features.shape[1]
        signals = partial(seen.signals, grid=(isqrt(tokens), isqrt(tokens)))
        return torch.cat(embedded([reducer] * len(pixels), signals, tokens, self.anatomy, self.multi_modal_projector))

    def _look(self, pixels: Tensor, needs: Needs) -> Seen:
        """What the projector would get, and the signals in `needs`; every rank has all heads of the tower."""
        layers = self.vision_tower.encoder.layer
        found: dict[str, dict[int, Tensor]] = {"cls_attention": {}, "received": {}}

        def record(name: str, layer: int, compute: Callable[..., Tensor], module: Any, args: Any) -> None:
            query, key, *_ = args
            of_patches = compute(query, key, layers[layer].attention.num_heads)
            found[name][layer] = mean_over_patches(of_patches, self.vision_tower, self._shuffled)

        with ExitStack() as undo:
            for name, where, compute in (
                ("cls_attention", needs.cls_attention, _cls_row),
                ("received", needs.received, _received),
            ):
                for layer in where:
                    hook = partial(record, name, layer, compute)
                    undo.callback(layers[layer].attention.attn.register_forward_pre_hook(hook).remove)
            patches = self.vision_tower(pixel_values=pixels)[:, 1:]
        side = isqrt(patches.shape[1])
        return Seen(self._shuffled(patches.unflatten(1, (side, side))).flatten(1, 2), **found)

    def _shuffled(self, patches: Tensor) -> Tensor:
        rows: Tensor = self.pixel_shuffle(patches, scale_factor=self.downsample_ratio)
        return rows


def _cls_row(query: Tensor, key: Tensor, heads: int) -> Tensor:
    return cls_row(query[:, :1], key, heads)


def _received(query: Tensor, key: Tensor, heads: int) -> Tensor:
    query, key = (rows.reshape(*rows.shape[:2], heads, -1) for rows in (query, key))
    return received_in_each(query, key, query.shape[-1] ** -0.5)[:, 1:]
