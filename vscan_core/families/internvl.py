"""InternVL: a tower with a CLS token, 2 x 2 patches per visual token, Qwen2- or Llama-like decoder."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vscan_core.families.base import Record
from vscan_core.families.llava import Llava
from vscan_core.families.pixel_shuffle import fold, sources
from vscan_core.families.scores import tap_cls
from vscan_core.families.tile_grouping import contiguous
from vscan_core.families.tiles import TiledPicture, Tiles
from vscan_core.trace import View


class InternVL(Llava):
    """`InternVLForConditionalGeneration`.

    There is no published VScan setting. Chosen as for LLaVA, of which it is a relative (CLS token, square tiles,
    one-dimensional positions): local scan at the same share of depth, renumbered positions, RoPE in the scores.
    Cut 0 works on every tile (also the thumbnail) by itself, later cuts on the whole picture. Which tiles make a
    picture shows in the prompt, where they are one run of placeholders; each frame of a video is an image of its own.
    How the tiles lie only `LVLM.inputs` tells: in other inputs, boxes of a cut picture are in the pixels of each tile.
    """

    model_type = "internvl"
    title = "InternVL"
    gives_keys = False

    def encode(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """Only pixels: the processor also counts tiles, which the model does not take."""
        return model.get_image_features(pixel_values=batch["pixel_values"], return_dict=True)

    def see(self, model: nn.Module, args: Any, kwargs: Any) -> Tiles:
        """Square tiles; a visual token covers as many patches as the downsampling folds together."""
        pixels = args[0] if args else kwargs["pixel_values"]
        config: Any = model.config
        height, width = pixels.shape[-2:]
        down, across = config.vision_config.patch_size
        grid = (int(height // down * config.downsample_ratio), int(width // across * config.downsample_ratio))
        return Tiles([grid] * len(pixels), None, side=(height, width))

    def pictures(self, model: nn.Module, ids: Tensor, per_tile: int) -> list[TiledPicture] | None:
        """All tiles of a picture are one run of placeholders; how they lie it does not tell."""
        runs = contiguous(ids, self.image_token_id(model), per_tile)
        return None if runs is None else [TiledPicture(tiles, (1, 1) if tiles == 1 else None) for tiles in runs]

    def view(self, processor: Any, width: int, height: int) -> View:
        """Stretched to whole tiles, as many and so arranged as the processor's own rule says; then a thumbnail."""
        prepare = processor.image_processor
        rule = vars(sys.modules[type(prepare).__module__])["get_optimal_tiled_canvas"]
        tile = (prepare.size["height"], prepare.size["width"])
        across, down = rule((height, width), tile, prepare.min_patches, prepare.max_patches)
        return View(size=(width, height), cut=(down, across))

    def tap(self, model: nn.Module, layer: int, record: Record) -> list[RemovableHandle]:
        """The CLS row after the layer's query and key norms; a token's score is the mean of its patches'."""
        attn = self.vision_tower(model).encoder.layer[layer].attention
        base, config = self.base(model), cast(Any, model.config)

        def shuffle(numbers: Tensor) -> Any:
            return base.pixel_shuffle(numbers, scale_factor=config.downsample_ratio)

        def keep(row: Tensor) -> None:
            side = int(row.shape[-1] ** 0.5)  # the model, too, takes every tile for a square
            record(layer, fold(row, sources(shuffle, side, side)))

        return tap_cls(attn.q_norm, attn.k_norm, attn.num_heads, keep)
