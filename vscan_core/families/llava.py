"""LLaVA-1.5: a CLIP tower, a two-layer projector, a Llama-like decoder; one square of patches per image."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vscan_core import geometry
from vscan_core.dummies.processors import chat_template, cropped
from vscan_core.dummies.shapes import Decoder, Ids, Shape, Tower, text_config, tower_config
from vscan_core.errors import InputError
from vscan_core.families.base import Family, Recorder
from vscan_core.families.entries import Defaults, HubModel, SmallModel
from vscan_core.families.scores import hook_cls_row, hook_received, mean_keys
from vscan_core.families.tiles import Tiles, TokenLayout
from vscan_core.selection import Anatomy
from vscan_core.trace import View

CLIP = Tower(336, 14, 1024, 24, 16, 4096)
VICUNA_7B = Decoder(4096, 32, 32, 32, 11008, 32064)
VICUNA_13B = Decoder(5120, 40, 40, 40, 13824, 32064)
DEFAULTS_7B = Defaults(5, 22, 16, "renumbered", "published")
DEFAULTS_13B = Defaults(5, 22, 20, "renumbered", "published")


class Llava(Family):
    """`LlavaForConditionalGeneration`. Settings of VScan as published, from the released code."""

    model_type = "llava"
    title = "LLaVA-1.5"
    hub_models: tuple[HubModel, ...] = (
        HubModel("llava-hf/llava-1.5-7b-hf", "LLaVA-1.5 7B", "LLaVA-1.5 with Vicuna 7B", 7.06, "Llama 2",
                 "llava-1.5-7b", Shape(CLIP, VICUNA_7B), DEFAULTS_7B),
        HubModel("llava-hf/llava-1.5-13b-hf", "LLaVA-1.5 13B", "LLaVA-1.5 with Vicuna 13B", 13.35, "Llama 2",
                 "llava-1.5-13b", Shape(CLIP, VICUNA_13B), DEFAULTS_13B),
    )  # fmt: skip
    small_models: tuple[SmallModel, ...] = (
        SmallModel(
            "llava-small",
            "LLaVA",
            174,
            Shape(Tower(336, 14, 512, 12, 8, 2048), Decoder(768, 12, 12, 12, 2048, 32064)),
        ),
    )
    has_vision_keys = True
    clip: str | None = "openai/clip-vit-large-patch14-336"

    @property
    def one_row_per_picture(self) -> bool:
        """True for LLaVA-1.5 only; families derived from it divide pictures into tiles or pack them."""
        return type(self) is Llava

    def vision_tower(self, model: nn.Module) -> Any:
        """The CLIP vision model."""
        return self.base(model).vision_tower

    def projector(self, model: nn.Module) -> Any:
        """(images, tokens, dim) -> (images, tokens, dim_llm)."""
        return self.base(model).multi_modal_projector

    def tiles(self, model: nn.Module, tower: Any, args: Any, kwargs: Any) -> Tiles:
        """Every picture is one square tile."""
        pixels = args[0] if args else kwargs["pixel_values"]
        height, width = pixels.shape[-2:]
        patch = tower.config.patch_size
        grid = (height // patch, width // patch)
        token_layout = TokenLayout(1, None, geometry.patch_boxes(*grid, height, width))
        return Tiles([grid] * len(pixels), [token_layout] * len(pixels))

    def tile_grid(self, config: Any) -> tuple[int, int]:
        """(rows, cols) of the visual tokens of every tile, from the model's configuration alone."""
        side: int = config.vision_config.image_size // config.vision_config.patch_size
        return side, side

    def picture_layout(self, config: Any, height: int, width: int) -> TokenLayout:
        """Every picture is one square tile; boxes are in the pixels of the tile."""
        side = config.vision_config.image_size
        return TokenLayout(1, None, geometry.patch_boxes(*self.tile_grid(config), side, side))

    def tiles_in_rows(self, model: nn.Module, ids: Tensor, per_tile: int, image_sizes: Any) -> list[int] | None:
        """One tile per picture."""
        counts: list[int] = torch.isin(ids, ids.new_tensor(self.visual_token_ids(model))).sum(1).tolist()
        return None if any(count % per_tile for count in counts) else [count // per_tile for count in counts]

    def anatomy(self, model: nn.Module) -> Anatomy:
        """As in VScan's released code, the local scan is at layer 5 of CLIP's 24; at other depths, in proportion.

        The middle layer is the 8th of 24, as in HiPrune's released code.

        Raises InputError if CLS is among the visual tokens.
        """
        config: Any = model.config
        if config.vision_feature_select_strategy != "default":
            raise InputError('vision_feature_select_strategy must be "default" (no CLS among the visual tokens)')
        depth = config.vision_config.num_hidden_layers
        feature_layer = max(self.vision_outputs(model))
        return Anatomy(
            vision_layers=depth,
            feature_layer=feature_layer,
            text_layers=config.text_config.num_hidden_layers,
            shallow_layer=round(depth * 5 / 24),
            positions="renumbered",
            rope_in_scores=True,
            middle_layer=round(depth * 8 / 24),
        )

    def vision_outputs(self, model: nn.Module) -> tuple[int, ...]:
        """One layer, or several whose features are joined."""
        config: Any = model.config
        chosen, depth = config.vision_feature_layer, config.vision_config.num_hidden_layers
        states = [chosen] if isinstance(chosen, int) else chosen
        # hidden_states[0] is what enters layer 0, so hidden_states[i] is the output of layer i - 1
        return tuple(sorted({(state if state >= 0 else depth + 1 + state) - 1 for state in states}))

    def hook_scores(self, model: nn.Module, layer: int, record: Recorder) -> list[RemovableHandle]:
        """Attention of CLS, from the layer's own query and key projections."""
        return [handle for tower in self.vision_towers(model) for handle in _hook_scores(tower, layer, record)]

    def hook_received(self, model: nn.Module, layer: int, record: Recorder) -> list[RemovableHandle]:
        """Attention from CLS and all patches, computed in blocks."""
        layers = [_attention(tower, layer) for tower in self.vision_towers(model)]
        hooks = (hook_received(attn.q_proj, attn.k_proj, attn.num_heads, partial(record, layer)) for attn in layers)
        return [handle for handles in hooks for handle in handles]

    def hook_keys(self, model: nn.Module, layer: int, record: Recorder) -> list[RemovableHandle]:
        """The layer's own keys, averaged over heads."""
        attn = _attention(self.vision_tower(model), layer)

        def record_keys(module: nn.Module, args: Any, out: Tensor) -> None:
            record(layer, lambda: mean_keys(out, attn.num_heads))

        return [attn.k_proj.register_forward_hook(record_keys)]

    def encoder_blocks(self, model: nn.Module) -> nn.ModuleList:
        """The blocks of CLIP. Raises InputError with flash attention, or if several layers feed the projector."""
        if not self.has_vision_keys:  # the tower is not CLIP
            return super().encoder_blocks(model)
        config: Any = model.config
        if isinstance(config.vision_feature_layer, list | tuple) and len(config.vision_feature_layer) > 1:
            raise InputError(
                "tokens cannot be merged inside a vision encoder whose output is taken from several layers; choose "
                "another method."
            )
        if "flash" in str(self.vision_tower(model).config._attn_implementation):
            raise InputError(
                "merging inside the vision encoder needs sdpa or eager attention there, but it runs flash."
            )
        blocks: nn.ModuleList = _blocks(self.vision_tower(model))
        return blocks

    def view(self, processor: Any, width: int, height: int) -> View:
        """As CLIP prepares pictures: scaled by the shortest edge, then cropped to the centre square; or only scaled.

        LLaVA's image processor may pad the picture to a square first.
        """
        prepare, picture = processor.image_processor, (width, height)
        before = (0, 0)
        if hasattr(prepare, "pad_to_square") and prepare.do_pad:
            side = max(picture)
            before, (width, height) = ((side - width) // 2, (side - height) // 2), (side, side)
        size, crop = dict(prepare.size), dict(prepare.crop_size or {})
        if not prepare.do_resize:
            scaled = (width, height)
        elif "shortest_edge" in size:
            short = min(width, height)  # multiply before dividing, so that the shorter side is exact
            scaled = (size["shortest_edge"] * width // short, size["shortest_edge"] * height // short)
        else:
            scaled = (size["width"], size["height"])
        scale = (width / scaled[0], height / scaled[1])
        offset = (0.0, 0.0)
        if prepare.do_center_crop:
            offset = ((scaled[0] - crop["width"]) // 2 * scale[0], (scaled[1] - crop["height"]) // 2 * scale[1])
        return View(scale=scale, offset=(offset[0] - before[0], offset[1] - before[1]), size=picture)

    def dummy_config(self, shape: Shape, ids: Ids) -> Any:
        """CLIP and Llama."""
        return transformers.LlavaConfig(**clip_and_llama(shape, ids), vision_feature_layer=-2)

    def dummy_processor(self, shape: Shape, tokenizer: Any) -> Any:
        """Pictures are cropped to a square."""
        return transformers.LlavaProcessor(
            transformers.CLIPImageProcessorPil(**cropped(shape)), tokenizer, **clip_processor(shape)
        )


def clip_and_llama(shape: Shape, ids: Ids) -> dict[str, Any]:
    """What the configurations of LLaVA-1.5, LLaVA-NeXT and Video-LLaVA have in common."""
    return {
        "vision_config": {"model_type": "clip_vision_model", **tower_config(shape)},
        "text_config": text_config(shape, ids, "llama"),
        "image_token_index": ids.image,
    }


def clip_processor(shape: Shape) -> dict[str, Any]:
    """What the processors of these families have in common."""
    return {
        "patch_size": shape.tower.patch,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
        "chat_template": chat_template(),
    }


def _hook_scores(tower: Any, layer: int, record: Recorder) -> list[RemovableHandle]:
    attn = _attention(tower, layer)
    return hook_cls_row(attn.q_proj, attn.k_proj, attn.num_heads, lambda row: record(layer, row))


def _attention(tower: Any, layer: int) -> Any:
    return _blocks(tower)[layer].self_attn


def _blocks(tower: Any) -> Any:
    inner = getattr(tower, "vision_model", tower)
    if not hasattr(inner.embeddings, "class_embedding"):
        raise InputError("this LLaVA has a vision tower without a CLS token, which is not supported")
    return inner.encoder.layers
