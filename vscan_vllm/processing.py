"""Before the encoder: settings are checked, and a picture gets as many placeholders as tokens will be kept of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from transformers import BatchFeature
from vllm.exceptions import VLLMValidationError
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.parse import ProcessorBatchItems
from vllm.multimodal.processing import PromptReplacement

from vscan_core.errors import InputError
from vscan_core.reducers import Reducer
from vscan_vllm.rehearsal import rehearse
from vscan_vllm.servable import Servable
from vscan_vllm.settings import VSCAN_KEY, reducer_of, spelled, to_rows
from vscan_vllm.usage import REQUEST, note_tokens

# modality -> processor fields of its items: their settings, and how many visual tokens they would have without
SETTINGS_FIELDS = {"image": VSCAN_KEY, "video": f"{VSCAN_KEY}_video"}
TOKENS_FIELDS = {"image": f"{VSCAN_KEY}_tokens", "video": f"{VSCAN_KEY}_video_tokens"}


class RefusedRequest(VLLMValidationError):
    """A client's error, status 400, whose message is the sentence alone."""

    def __str__(self) -> str:
        return str(self.args[0])


class ItemShape(NamedTuple):
    """A picture or video as the encoder sees it."""

    grids: tuple[tuple[int, int], ...]  # (rows, cols) of visual tokens of each tile, without padding; of one frame
    tile: int  # tokens of a tile or frame, padding included
    tokens: int  # that enter the LLM if all are kept
    frames: int = 0  # of a video; 0: a picture


class Reducing:
    """Mixin before a multimodal processor of vLLM. A family's subclass says how many tokens items have and keep.

    Of a request's own processor options, nothing but its `vscan` reaches the processor: sizes and crops stay the
    operator's. The effective settings, the server's default included, are part of every cache key.
    """

    info: Any

    @cached_property
    def servable(self) -> Servable:
        """What vLLM can run for this model."""
        return Servable(self.info.get_hf_config())

    def shape_of(self, items: Any, modality: str, index: int) -> ItemShape:
        """What an item will be in the encoder, from its size alone."""
        raise NotImplementedError

    def kept_of(self, shape: ItemShape, reducer: Reducer) -> int:
        """How many tokens of an item enter the LLM; tokens that are no part of the grids, such as newlines, all do."""
        keep = reducer.at_entrance(shape.tile, self.servable.anatomy)
        if keep is None:
            return shape.tokens
        counts = [rows * cols for rows, cols in shape.grids] * max(1, shape.frames)
        return shape.tokens - sum(max(0, count - keep) for count in counts)

    def apply(self, inputs: Any, timing_ctx: Any) -> Any:
        """Raises RefusedRequest, in one sentence, for what vLLM cannot run."""
        options, items = inputs.hf_processor_mm_kwargs, inputs.mm_data_items
        try:
            reducer, changed = self.servable.wanted(options.get(VSCAN_KEY, self.servable.default))
            text = spelled(reducer)
            shapes = {modality: self._shapes(items, modality, reducer) for modality in items}
            if reducer is not None:
                for one in {one for each in shapes.values() for one in each}:
                    for grid in set(one.grids):
                        rehearse(reducer, grid, one.tile, one.frames, self.servable.anatomy)
        except InputError as reason:
            raise RefusedRequest(str(reason), parameter=VSCAN_KEY) from reason
        result = super().apply(replace(inputs, hf_processor_mm_kwargs={VSCAN_KEY: text}), timing_ctx)  # type: ignore[misc]
        if REQUEST in options:
            for modality, ranges in result["mm_placeholders"].items():
                tokens = sum(one.tokens for one in shapes[modality])
                note_tokens(options[REQUEST], text, changed, tokens, sum(one.get_num_embeds() for one in ranges))
        return result

    def _shapes(self, items: Any, modality: str, reducer: Reducer | None) -> list[ItemShape]:
        """Of all items of a modality; items that only an identifier stands for were seen before."""
        given = items[modality]
        if isinstance(given, ProcessorBatchItems):
            return [self.shape_of(items, modality, i) for i, one in enumerate(given) if one is not None]
        if reducer is not None:
            raise InputError(f'{reducer.title} needs the picture itself; give "{VSCAN_KEY}": null with its features')
        return []

    def _apply_hf_processor_main(self, mm_items: Any, hf_kwargs: Mapping[str, object]) -> BatchFeature:
        made = super()._apply_hf_processor_main(mm_items, {})  # type: ignore[misc]
        for modality, items in mm_items.items():
            if isinstance(items, ProcessorBatchItems) and len(items):
                made[SETTINGS_FIELDS[modality]] = to_rows(str(hf_kwargs[VSCAN_KEY]), len(items))
                tokens = [self.shape_of(mm_items, modality, place).tokens for place in range(len(items))]
                made[TOKENS_FIELDS[modality]] = torch.tensor(tokens)
        return made

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Any) -> Mapping[str, Any]:
        fields = super()._get_mm_fields_config(hf_inputs, {})  # type: ignore[misc]
        ours = {
            name: MultiModalFieldConfig.batched(modality, keep_on_cpu=True)
            for names in (SETTINGS_FIELDS, TOKENS_FIELDS)
            for modality, name in names.items()
            if name in hf_inputs
        }
        return {**fields, **ours}

    def get_dummy_inputs(self, *args: Any, **kwargs: Any) -> Any:
        """Memory is measured with every token, because a request may ask for all of them."""
        made = super().get_dummy_inputs(*args, **kwargs)  # type: ignore[misc]
        return replace(made, hf_processor_mm_kwargs={VSCAN_KEY: None})

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Sequence[Any]:
        updates = super()._get_prompt_updates(mm_items, {}, out_mm_kwargs)  # type: ignore[misc]
        reducer = self.reducer_in(hf_processor_mm_kwargs)
        return updates if reducer is None else [self._shortened(one, mm_items, reducer) for one in updates]

    def reducer_in(self, options: Mapping[str, object]) -> Reducer | None:
        """The method that `apply` has put in the options of the processor."""
        return reducer_of(str(options[VSCAN_KEY]))

    def _shortened(self, update: Any, items: Any, reducer: Reducer) -> PromptReplacement:
        """A replacement by as many placeholders as there are tokens kept."""

        def replacement(index: int) -> Any:
            kept = self.kept_of(self.shape_of(items, update.modality, index), reducer)
            return update.replacement(index)[:kept]

        return PromptReplacement(modality=update.modality, target=update.target, replacement=replacement)
