"""Idefics3: a SigLIP tower without CLS, several tiles per picture, a pixel shuffle in the connector."""

from __future__ import annotations

from threading import get_ident
from typing import Any

import transformers
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vscan_core.dummies.processors import chat_template
from vscan_core.dummies.shapes import SMALL_TEXT, Decoder, Ids, Shape, Tower, small_tower, text_config, tower_config
from vscan_core.errors import InputError
from vscan_core.families.base import Family, Recorder
from vscan_core.families.entries import Defaults, HubModel, SmallModel
from vscan_core.families.pixel_shuffle import mean_over_patches
from vscan_core.families.scores import hook_query_and_key, received_by_tile
from vscan_core.families.tile_grouping import WIDEST, separated
from vscan_core.families.tiles import TiledPicture, Tiles
from vscan_core.selection import Anatomy
from vscan_core.trace import View

SIGLIP_364 = Tower(364, 14, 1152, 27, 16, 4304)
LLAMA3_8B = Decoder(4096, 32, 32, 8, 14336, 128259)


class Idefics3(Family):
    """`Idefics3ForConditionalGeneration`.

    There is no published VScan setting. Settings of this project: attention received as in Qwen2.5-VL, which has no
    CLS token either, with the local scan at the same relative depth; renumbered positions and RoPE in the scores as in
    LLaVA, which has one-dimensional positions too.
    Cut 0 treats every tile separately, later cuts the whole picture. Prompts of the stock processor show which tiles
    belong to a picture; in other prompts, every tile is a separate image.
    """

    model_type = "idefics3"
    title = "Idefics3"
    hub_models: tuple[HubModel, ...] = (
        HubModel("HuggingFaceM4/Idefics3-8B-Llama3", "Idefics3 8B", "Idefics3 with Llama 3 8B", 8.46,
                 "Apache-2.0, Llama 3", "idefics3-8b", Shape(SIGLIP_364, LLAMA3_8B, {"scale_factor": 2}),
                 Defaults(6, 26, 16, "renumbered", "ours")),
    )  # fmt: skip
    small_models: tuple[SmallModel, ...] = (
        SmallModel(
            "idefics3-small", "Idefics3", 59, Shape(small_tower(364, 14, 192), SMALL_TEXT, {"scale_factor": 2}, 2)
        ),
    )
    nested_pictures = True

    def language_model(self, model: nn.Module) -> Any:
        """The text model."""
        return self.base(model).text_model

    def vision_tower(self, model: nn.Module) -> Any:
        """SigLIP, for any grid of patches."""
        return self.base(model).vision_model

    def projector(self, model: nn.Module) -> Any:
        """(tiles, tokens, patches per token * dim) -> (tiles, tokens, dim_llm), after the pixel shuffle."""
        return self.base(model).connector.modality_projection

    def tiles(self, model: nn.Module, tower: Any, args: Any, kwargs: Any) -> Tiles:
        """Square tiles. The model removes padding tiles first, so the tower cannot tell which tiles belong together."""
        pixels = args[0] if args else kwargs["pixel_values"]
        return Tiles([self._grid(model, pixels)] * len(pixels), None, side=tuple(pixels.shape[-2:]))

    def pictures_in_prompt(self, model: nn.Module, ids: Tensor, per_tile: int) -> list[TiledPicture] | None:
        """Tags before the tiles give their rows and columns."""
        cuts = separated(ids, self.image_token_id(model), per_tile)
        if cuts is None:
            return None
        return [
            TiledPicture(rows * cols + 1, (rows, cols)) if rows * cols > 1 else TiledPicture(1) for rows, cols in cuts
        ]

    def _grid(self, model: nn.Module, pixels: Tensor) -> tuple[int, int]:
        edge = self.vision_tower(model).patch_size * self.base(model).connector.scale_factor
        return pixels.shape[-2] // edge, pixels.shape[-1] // edge

    def anatomy(self, model: nn.Module) -> Anatomy:
        """The local scan and the middle are at the relative depths of Qwen2.5-VL: blocks 7 and 15 of 32."""
        config: Any = model.config
        depth = config.vision_config.num_hidden_layers
        return Anatomy(
            vision_layers=depth,
            feature_layer=depth - 1,
            text_layers=config.text_config.num_hidden_layers,
            shallow_layer=round(depth * 7 / 32),
            has_cls=False,
            positions="renumbered",
            rope_in_scores=True,
            middle_layer=round(depth * 15 / 32),
        )

    def hook_scores(self, model: nn.Module, layer: int, record: Recorder) -> list[RemovableHandle]:
        """Attention received per tile, computed in blocks, without padded patches."""
        tower, connector = self.vision_tower(model), self.base(model).connector
        attn = tower.encoder.layers[layer].self_attn
        valid: dict[int, Tensor | None] = {}  # by thread: several may run one model

        def store_mask(module: nn.Module, args: Any, kwargs: Any = None) -> None:
            valid[get_ident()] = (kwargs or {}).get("patch_attention_mask")

        def score(query: Tensor, key: Tensor) -> None:
            mask = valid.pop(get_ident(), None)

            def scores() -> Tensor:
                of_patches = received_by_tile(query, key, mask, attn)
                return mean_over_patches(of_patches, connector, lambda numbers: _shuffled(connector, numbers))

            record(layer, scores)

        mask = tower.register_forward_pre_hook(store_mask, with_kwargs=True)
        return [mask, *hook_query_and_key(attn.q_proj, attn.k_proj, score)]

    def view(self, processor: Any, width: int, height: int) -> View:
        """Stretched to the processor's grid of tiles, followed by a tile of the whole picture."""
        _, down, across = processor.image_processor.get_number_of_image_patches(height, width, {})
        return View(size=(width, height), cut=(max(down, 1), max(across, 1)))

    def dummy_config(self, shape: Shape, ids: Ids) -> Any:
        """SigLIP and Llama."""
        return transformers.Idefics3Config(**self.config_settings(shape, ids))

    def config_settings(self, shape: Shape, ids: Ids) -> dict[str, Any]:
        """Keyword arguments of the configuration."""
        return {
            "vision_config": tower_config(shape),
            "text_config": text_config(shape, ids, "llama"),
            "image_token_id": ids.image,
            "pad_token_id": ids.pad,
            "tie_word_embeddings": shape.text.tied,
            **shape.extra,
        }

    def dummy_processor(self, shape: Shape, tokenizer: Any) -> Any:
        """Also used for SmolVLM, which prepares pictures alike: its own processor needs torchvision and num2words."""
        side, edge = shape.tower.image, shape.tower.patch * shape.extra["scale_factor"]
        sizes = {"size": {"longest_edge": shape.tiles * side}, "max_image_size": {"longest_edge": side}}
        try:
            prepare = transformers.Idefics3ImageProcessorPil(**sizes)
        except ImportError as error:
            reason = "pictures for Idefics3 and SmolVLM need torchvision here: pip install torchvision"
            raise InputError(reason) from error
        # else the tags of tiles would be written in letters, and no one could tell which tiles make one picture
        places = [f"<row_{row}_col_{col}>" for row in range(1, WIDEST + 1) for col in range(1, WIDEST + 1)]
        tokenizer.add_tokens(["<fake_token_around_image>", "<global-img>", *places], special_tokens=True)
        return transformers.Idefics3Processor(
            prepare, tokenizer, image_seq_len=(side // edge) ** 2, chat_template=chat_template()
        )


def _shuffled(connector: Any, numbers: Tensor) -> Tensor:
    shuffled: Tensor = connector.pixel_shuffle(numbers.flatten(1, 2), connector.scale_factor)
    return shuffled
