"""In a worker: what all model classes of this package have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vscan_core.reducers import Reducer
from vscan_core.selection import Anatomy, Needs, Signals
from vscan_core.serving import reduce_tiles
from vscan_vllm.processing import SETTINGS_FIELDS, TOKENS_FIELDS
from vscan_vllm.servable import Servable
from vscan_vllm.settings import from_rows


class CutsAtEntrance:
    """Mixin before a model class of vLLM: refuses, when the server starts, what would leave it without signals."""

    config: Any

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        if vllm_config.compilation_config.compile_mm_encoder:
            raise ValueError("a compiled vision encoder shows no attention; start without compile_mm_encoder")
        if vllm_config.model_config.multimodal_config.mm_encoder_tp_mode == "data":
            raise ValueError("methods need all pictures on every rank; start without --mm-encoder-tp-mode data")
        check_config(vllm_config.model_config.hf_config)
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        self.encoder_budget: int = vllm_config.scheduler_config.max_num_encoder_input_tokens

    @cached_property
    def anatomy(self) -> Anatomy:
        """The sizes of this model."""
        return Servable(self.config).anatomy

    def parts(self, items: int, tokens: int) -> list[slice]:
        """`items` of `tokens` visual tokens each, in parts for which memory was measured.

        vLLM counts what leaves the encoder, so it may send more pictures at once the fewer tokens they keep.
        """
        most = max(1, self.encoder_budget // tokens)
        return [slice(start, start + most) for start in range(0, items, most)]


def methods_in(kwargs: dict[str, Any], modality: str = "image") -> list[Reducer | None]:
    """The method of each item of a batch, taken out of what the processor sent; [] for precomputed features."""
    kwargs.pop(TOKENS_FIELDS[modality], None)
    return from_rows(kwargs.pop(SETTINGS_FIELDS[modality], ()))


def check_config(config: Any) -> None:
    """Raise ValueError, or InputError, for a model whose signals are not those of its family."""
    layers, vision = getattr(config, "vision_feature_layer", -1), config.vision_config.model_type
    if not isinstance(layers, int):
        raise ValueError(f"features of one vision layer can be reduced, but vision_feature_layer is {layers}")
    if config.model_type.startswith("llava") and vision != "clip_vision_model":
        raise ValueError(f"LLaVA has signals with a CLIP tower alone, but this is {vision}")
    if config.model_type == "internvl" and layers != -1:
        raise ValueError(f"vLLM gives the features of the last vision layer, but vision_feature_layer is {layers}")
    assert Servable(config).anatomy


def all_needs(reducers: Sequence[Reducer | None], anatomy: Anatomy) -> Needs:
    """The signals of several methods."""
    total = Needs()
    for reducer in reducers:
        total |= Needs() if reducer is None else reducer.needs(anatomy)
    return total


def embedded(
    reducers: Sequence[Reducer | None],
    signals: Callable[[list[int]], Signals],
    tokens: int,
    anatomy: Anatomy,
    project: Callable[[Tensor], Tensor],
) -> list[Tensor]:
    """The rows (kept, dim_llm) of each tile of `tokens` tokens; those of one method are cut together.

    signals: of the tiles at some places, with the tiles as their first axis.
    """
    rows: dict[int, Tensor] = {}
    for reducer in dict.fromkeys(reducers):
        places = [place for place, one in enumerate(reducers) if one == reducer]
        keep = None if reducer is None else reducer.at_entrance(tokens, anatomy)
        if reducer is None or keep is None:
            features = signals(places).features
            assert features is not None
            made: Sequence[Tensor] = project(features).unbind()
        else:
            _, made = reduce_tiles(reducer, signals(places), keep, anatomy, project)
        rows |= dict(zip(places, made, strict=True))
    return [rows[place] for place in range(len(reducers))]


def as_tiles(pixels: Any) -> Tensor:
    """What vLLM gives for several pictures, one tensor or one for each, as (tiles, 3, height, width)."""
    parts = [pixels] if isinstance(pixels, Tensor) else pixels
    return torch.cat([part.reshape(-1, *part.shape[-3:]) for part in parts])
