"""LLaVA-OneVision: the tiles and newlines of LLaVA-NeXT, a SigLIP tower without CLS, a Qwen2 decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import ceil, isqrt
from typing import Any

import torch
import transformers
from PIL import Image
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel

from vscan_core.dummies.processors import chat_template, sides, with_videos
from vscan_core.dummies.shapes import SMALL_TEXT, Decoder, Ids, Shape, Tower, small_tower, text_config, tower_config
from vscan_core.errors import InputError
from vscan_core.families.base import Recorder
from vscan_core.families.entries import Defaults, HubModel, SmallModel
from vscan_core.families.llava_next import LlavaNext
from vscan_core.families.method_hook import MethodHook
from vscan_core.families.packing import Tiling, packed
from vscan_core.families.scores import hook_query_and_key, received_by_tile
from vscan_core.families.tiles import Arrange, Tiles, TokenLayout
from vscan_core.geometry import patch_boxes
from vscan_core.selection import Anatomy
from vscan_core.trace import View

SIGLIP_WITHOUT_LAST = Tower(384, 14, 1152, 26, 16, 4304)  # the last of SigLIP's 27 layers is left out


def _grids(most: int) -> dict[str, Any]:
    """Every grid of up to most x most tiles."""
    lengths = range(384, 384 * most + 1, 384)
    return {"image_grid_pinpoints": [[height, width] for height in lengths for width in lengths]}


class LlavaOnevision(LlavaNext):
    """`LlavaOnevisionForConditionalGeneration`.

    There is no published VScan setting. Settings of this project: attention received as in Qwen2.5-VL, which has no
    CLS token either, with the local scan at the same relative depth; renumbered positions and RoPE in the scores as in
    LLaVA. Several pictures of one prompt are one tile each, padded to a square. The model pools a frame of a video from
    27 x 27 to 14 x 14 tokens after the projector: features and scores are pooled alike, and what is dropped is dropped
    behind the pooling. A picture with more tiles than the model's limit (nine) is refused, because its tiles are pooled
    together.
    """

    model_type = "llava_onevision"
    title = "LLaVA-OneVision"
    hub_models = (
        HubModel("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "LLaVA-OneVision 0.5B", "LLaVA-OneVision with Qwen2 0.5B",
                 0.89, "Apache-2.0", "llava-onevision-0.5b",
                 Shape(SIGLIP_WITHOUT_LAST, Decoder(896, 24, 14, 2, 4864, 152000, True), _grids(6)),
                 Defaults(6, 25, 12, "renumbered", "ours")),
        HubModel("llava-hf/llava-onevision-qwen2-7b-ov-hf", "LLaVA-OneVision 7B", "LLaVA-OneVision with Qwen2 7B",
                 8.03, "Apache-2.0", "llava-onevision-7b",
                 Shape(SIGLIP_WITHOUT_LAST, Decoder(3584, 28, 28, 4, 18944, 152128), _grids(6)),
                 Defaults(6, 25, 14, "renumbered", "ours")),
    )  # fmt: skip
    small_models = (
        SmallModel("llava-onevision-small", "LLaVA-OneVision", 59, Shape(small_tower(384, 14), SMALL_TEXT, _grids(2))),
    )
    has_vision_keys = False
    clip = None
    nested_pictures = True  # else the processor cuts each of several pictures into tiles, as only a single one is
    pooling = "apply_pooling"  # of the frames of videos
    frames = 16  # set by this project; the model was trained on up to 32

    def encode(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """Frames of a video or pictures."""
        if "pixel_values_videos" in batch:
            return self.base(model).get_video_features(batch["pixel_values_videos"], return_dict=True)
        return super().encode(model, batch)

    def anatomy(self, model: nn.Module) -> Anatomy:
        """The local scan and the middle are at the relative depths of Qwen2.5-VL: blocks 7 and 15 of 32.

        Raises InputError for settings that are not LLaVA-OneVision's.
        """
        config: Any = model.config
        if config.vision_feature_select_strategy != "full" or not isinstance(config.vision_feature_layer, int):
            raise InputError('vision_feature_select_strategy must be "full", with a single vision_feature_layer')
        depth = config.vision_config.num_hidden_layers
        return Anatomy(
            vision_layers=depth,
            feature_layer=max(self.vision_outputs(model)),
            text_layers=config.text_config.num_hidden_layers,
            shallow_layer=round(depth * 7 / 32),
            has_cls=False,
            positions="renumbered",
            rope_in_scores=True,
            middle_layer=round(depth * 15 / 32),
        )

    def hook_scores(self, model: nn.Module, layer: int, record: Recorder) -> list[RemovableHandle]:
        """Attention received per tile, computed in blocks."""
        tower = self.vision_tower(model)
        attn: Any = self.vision_blocks(tower)[layer].self_attn
        return hook_query_and_key(
            attn.q_proj, attn.k_proj, lambda query, key: record(layer, lambda: received_by_tile(query, key, None, attn))
        )

    def hook_received(self, model: nn.Module, layer: int, record: Recorder) -> list[RemovableHandle]:
        """The same as the scores, because there is no CLS."""
        return self.hook_scores(model, layer, record)

    def hook_arrangement(self, model: nn.Module, record: Callable[[Arrange], None]) -> list[Any]:
        """Also hook the method for videos, whose frames are pooled and end with a newline."""
        base, side = self.base(model), self.tile_grid(model.config)[0]

        def encoded(call: Any, *args: Any, **kwargs: Any) -> None:
            videos = args[0] if args else kwargs["pixel_values_videos"]  # (videos, frames, 3, height, width)

            def arrange(tiles: Tiles) -> Tiles:
                grid, (number, frames) = (ceil(side / 2),) * 2, videos.shape[:2]
                layouts = [_video_layout(grid, frames, *videos.shape[-2:])] * number
                # the class's own method, so that the hook around it does not hear this
                return replace(tiles, grids=[grid] * len(tiles.grids), layouts=layouts, pool=partial(pool, base))

            record(arrange)

        pool = type(base).apply_pooling
        return [*super().hook_arrangement(model, record), MethodHook(base, "get_video_features", encoded)]

    def video_inputs(
        self, processor: Any, prompt: str, frames: Sequence[Image.Image], times: Sequence[float]
    ) -> dict[str, Any]:
        """Every frame is one tile, stretched to a square; when it is shown is not told."""
        prepare = processor.image_processor
        side = (prepare.size["width"], prepare.size["height"])
        square = [frame.resize(side, prepare.resample) for frame in frames]  # else it would pad them
        pixels = prepare([square], return_tensors="pt")["pixel_values"][:, 0]
        tokens = len(frames) * ceil(isqrt(processor.num_image_tokens) / 2) ** 2 + 1  # and a newline
        prompt = prompt.replace(processor.video_token, processor.video_token * tokens)
        text = processor.tokenizer([prompt], return_tensors="pt", return_token_type_ids=False)
        return {**text, "pixel_values_videos": pixels[None]}

    def _layouts_of(self, config: Any, sizes: Sequence[tuple[int, int]], given: Mapping[str, Any]) -> list[TokenLayout]:
        """Several pictures of one prompt are one tile each."""
        counts, pooling = given.get("batch_num_images"), given.get("vision_aspect_ratio") or config.vision_aspect_ratio
        cut = [True] * len(sizes) if counts is None else [n == 1 for n in map(int, counts) for _ in range(n)]
        pack, tiling = LlavaOnevisionModel.pack_image_features, Tiling.of(config)
        return [packed(pack, tiling, size, one, pooling) for size, one in zip(sizes, cut, strict=True)]

    def picture_layout(self, config: Any, height: int, width: int) -> TokenLayout:
        """Of a picture that is alone in its prompt. Raises InputError for one that the model would pool."""
        (layout,) = self._layouts_of(config, [(height, width)], {})
        return layout

    def dummy_config(self, shape: Shape, ids: Ids) -> Any:
        """SigLIP and Qwen2."""
        return transformers.LlavaOnevisionConfig(
            vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **tower_config(shape)},
            text_config=text_config(shape, ids, "qwen2"),
            image_token_index=ids.image,
            video_token_index=ids.video,
            tie_word_embeddings=shape.text.tied,
            **shape.extra,
        )

    def dummy_processor(self, shape: Shape, tokenizer: Any) -> Any:
        """Pictures are divided into tiles."""
        return with_videos(
            "LlavaOnevisionProcessor",
            transformers.LlavaOnevisionImageProcessorPil(size=sides(shape), **shape.extra),
            "LlavaOnevisionVideoProcessor",
            tokenizer,
            {"size": sides(shape)},
            num_image_tokens=(shape.tower.image // shape.tower.patch) ** 2,
            vision_feature_select_strategy="full",
            chat_template=chat_template(),
        )


def _video_layout(grid: tuple[int, int], frames: int, height: int, width: int) -> TokenLayout:
    """The tokens of frames of height x width pixels and `grid` (rows, cols) tokens each, and a newline behind them."""
    tokens = frames * grid[0] * grid[1]
    origin = torch.cat([torch.arange(tokens), torch.tensor([-1])])
    boxes = torch.cat([patch_boxes(*grid, height, width).repeat(frames, 1), torch.full((1, 4), torch.nan)])
    return TokenLayout(frames, origin, boxes, View(frames=frames), canvas=(width, height))
