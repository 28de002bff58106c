"""InternVL: a tower with a CLS token, 2 x 2 patches per visual token, Qwen2- or Llama-like decoder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import transformers
from PIL import Image
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vscan_core.dummies.processors import chat_template, sides, with_videos
from vscan_core.dummies.shapes import SMALL_TEXT, Decoder, Ids, Shape, Tower, small_tower, text_config, tower_config
from vscan_core.families.base import Family, Recorder
from vscan_core.families.entries import Defaults, HubModel, SmallModel
from vscan_core.families.llava import Llava
from vscan_core.families.pixel_shuffle import mean_over_patches
from vscan_core.families.scores import hook_cls_row, hook_received
from vscan_core.families.tile_grouping import contiguous
from vscan_core.families.tiles import TiledPicture, Tiles, TokenLayout
from vscan_core.trace import View

INTERN_VIT = Tower(448, 14, 1024, 24, 16, 4096)


class InternVL(Llava):
    """`InternVLForConditionalGeneration`.

    There is no published VScan setting. Settings of this project are as for LLaVA, which is similar (CLS token, square
    tiles, one-dimensional positions): local scan at the same relative depth, renumbered positions, RoPE in the scores.
    Cut 0 treats every tile (the thumbnail too) separately, later cuts the whole picture. The prompt shows which tiles
    belong to a picture: they are one run of placeholders. What it does not show is known only from `LVLM.inputs`: the
    grid of the tiles (in other inputs, boxes of a tiled picture are in pixels of each tile), and that frames are those
    of one video (in other inputs, each is a picture of its own).
    """

    model_type = "internvl"
    title = "InternVL"
    hub_models = (
        HubModel("OpenGVLab/InternVL3-1B-hf", "InternVL3 1B", "InternVL3 1B", 0.94, "Qwen", "internvl3-1b",
                 Shape(INTERN_VIT, Decoder(896, 24, 14, 2, 4864, 151674)), Defaults(5, 23, 12, "renumbered", "ours")),
        HubModel("OpenGVLab/InternVL3-2B-hf", "InternVL3 2B", "InternVL3 2B", 2.09, "Qwen", "internvl3-2b",
                 Shape(INTERN_VIT, Decoder(1536, 28, 12, 2, 8960, 151674)), Defaults(5, 23, 14, "renumbered", "ours")),
        HubModel("OpenGVLab/InternVL3-8B-hf", "InternVL3 8B", "InternVL3 8B", 7.94, "Qwen", "internvl3-8b",
                 Shape(INTERN_VIT, Decoder(3584, 28, 28, 4, 18944, 151674)), Defaults(5, 23, 14, "renumbered", "ours")),
    )  # fmt: skip
    small_models = (SmallModel("internvl3-small", "InternVL3", 60, Shape(small_tower(448, 14, 192), SMALL_TEXT)),)
    has_vision_keys = False
    clip = None
    frames = 8  # set by this project; the reference code takes 8 to 32

    def encode(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """Pass only pixels: the processor also returns numbers of tiles, which the model does not accept."""
        return model.get_image_features(pixel_values=batch["pixel_values"], return_dict=True)

    def tiles(self, model: nn.Module, tower: Any, args: Any, kwargs: Any) -> Tiles:
        """Square tiles; a visual token covers the patches that the downsampling joins."""
        pixels = args[0] if args else kwargs["pixel_values"]
        height, width = pixels.shape[-2:]
        return Tiles([_grid(model.config, height, width)] * len(pixels), None, side=(height, width))

    def tile_grid(self, config: Any) -> tuple[int, int]:
        """(rows, cols) of the visual tokens of every tile, from the model's configuration alone."""
        return _grid(config, *config.vision_config.image_size)

    def picture_layout(self, config: Any, height: int, width: int) -> TokenLayout:
        """Raises InputError: the processor chooses the tiles."""
        return Family.picture_layout(self, config, height, width)

    def pictures_in_prompt(self, model: nn.Module, ids: Tensor, per_tile: int) -> list[TiledPicture] | None:
        """The tiles of a picture are one run of placeholders, which does not show their grid."""
        runs = contiguous(ids, self.image_token_id(model), per_tile)
        return None if runs is None else [TiledPicture(tiles, (1, 1) if tiles == 1 else None) for tiles in runs]

    def visual_token_ids(self, model: Any) -> tuple[int, ...]:
        """That of pictures: frames are written with it, too."""
        return (self.image_token_id(model),)

    def video_inputs(
        self, processor: Any, prompt: str, frames: Sequence[Image.Image], times: Sequence[float]
    ) -> dict[str, Any]:
        """Every frame is one tile after its number, from 1; when it is shown is not told."""
        pixels = processor.image_processor(list(frames), crop_to_patches=False, return_tensors="pt")["pixel_values"]
        start, end = processor.start_image_token, processor.end_image_token
        tile = f"{start}{processor.image_token * processor.image_seq_length}{end}"
        told = "\n".join(f"Frame{number}: {tile}" for number in range(1, len(frames) + 1))
        prompt = prompt.replace(processor.video_token, told)
        text = processor.tokenizer([prompt], return_tensors="pt", return_token_type_ids=False)
        return {**text, "pixel_values": pixels}

    def view(self, processor: Any, width: int, height: int) -> View:
        """Stretched to a grid of tiles, chosen by the processor's own rule, followed by a thumbnail."""
        prepare = processor.image_processor
        rule = vars(sys.modules[type(prepare).__module__])["get_optimal_tiled_canvas"]
        tile = (prepare.size["height"], prepare.size["width"])
        across, down = rule((height, width), tile, prepare.min_patches, prepare.max_patches)
        return View(size=(width, height), cut=(down, across))

    def vision_blocks(self, tower: Any) -> nn.ModuleList:
        """The layers of InternViT."""
        blocks: nn.ModuleList = tower.encoder.layer
        return blocks

    def hook_scores(self, model: nn.Module, layer: int, record: Recorder) -> list[RemovableHandle]:
        """The CLS row after the layer's query and key norms; a token's score is the mean over its patches."""
        attn = self.vision_tower(model).encoder.layer[layer].attention
        return hook_cls_row(attn.q_norm, attn.k_norm, attn.num_heads, self._of_tokens(model, layer, record))

    def hook_received(self, model: nn.Module, layer: int, record: Recorder) -> list[RemovableHandle]:
        """Attention from CLS and all patches, computed in blocks; a token's is the mean over its patches."""
        attn = self.vision_tower(model).encoder.layer[layer].attention
        return hook_received(attn.q_norm, attn.k_norm, attn.num_heads, self._of_tokens(model, layer, record))

    def _of_tokens(self, model: nn.Module, layer: int, record: Recorder) -> Callable[[Callable[[], Tensor]], None]:
        """Record the numbers of patches as those of tokens."""
        base, config = self.base(model), cast(Any, model.config)

        def shuffle(numbers: Tensor) -> Any:
            return base.pixel_shuffle(numbers, scale_factor=config.downsample_ratio)

        return lambda of_patches: record(layer, lambda: mean_over_patches(of_patches(), base, shuffle))

    def dummy_config(self, shape: Shape, ids: Ids) -> Any:
        """InternViT and Qwen2."""
        return transformers.InternVLConfig(
            vision_config=tower_config(shape),
            text_config=text_config(shape, ids, "qwen2"),
            image_token_id=ids.image,
            image_seq_length=_tokens(shape),
            tie_word_embeddings=shape.text.tied,
        )

    def dummy_processor(self, shape: Shape, tokenizer: Any) -> Any:
        """Pictures are divided into tiles."""
        return with_videos(
            "InternVLProcessor",
            transformers.GotOcr2ImageProcessorPil(size=sides(shape), crop_to_patches=True),
            "InternVLVideoProcessor",
            tokenizer,
            {"size": sides(shape)},
            image_seq_length=_tokens(shape),
            chat_template=chat_template(),
        )


def _tokens(shape: Shape) -> int:
    """Visual tokens per tile, of 2 x 2 patches each."""
    tokens: int = (shape.tower.image // shape.tower.patch // 2) ** 2
    return tokens


def _grid(config: Any, height: int, width: int) -> tuple[int, int]:
    """(rows, cols) of the visual tokens of a tile of this size in pixels."""
    down, across = config.vision_config.patch_size
    return int(height // down * config.downsample_ratio), int(width // across * config.downsample_ratio)
