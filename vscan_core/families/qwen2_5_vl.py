"""Qwen2.5-VL: no CLS token, any resolution, vision tokens in window order, M-RoPE. Scores are attention received."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from threading import get_ident
from typing import Any

import torch
import transformers
from PIL import Image
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.vision_utils import get_vision_window_index

from vscan_core import geometry
from vscan_core.dummies.processors import IMAGE, VIDEO, VISION_END, VISION_START, chat_template, with_videos
from vscan_core.dummies.shapes import SMALL_TEXT, Decoder, Ids, Shape, Tower, small_tower, text_config
from vscan_core.families.base import Family, Recorder
from vscan_core.families.entries import Defaults, HubModel, SmallModel
from vscan_core.families.remembered import Remembered
from vscan_core.families.scores import received
from vscan_core.families.tiles import Tiles, TokenLayout
from vscan_core.selection import Anatomy
from vscan_core.trace import View

MIN_SLICE_TOKENS, MAX_SLICE_TOKENS = 128, 768  # per slice of a video, as in the reference code

QWEN25_VIT = Tower(0, 14, 1280, 32, 16, 3420)
QWEN25_VIT_32B = Tower(0, 14, 1280, 32, 16, 3456)
_places = Remembered()
WINDOWS = {"fullatt_block_indexes": [7, 15, 23, 31]}


class Qwen25VL(Family):
    """`Qwen2_5_VLForConditionalGeneration`. An image is one tile; in a video, every temporal slice is one.

    A slice is two frames, because the encoder's patches are two frames deep. In a video, cut 0 keeps the same number of
    tokens in every slice, and later cuts choose from the whole video, as for Video-LLaVA. The VScan paper has settings
    for images, but none for videos.
    """

    model_type = "qwen2_5_vl"
    title = "Qwen2.5-VL"
    hub_models: tuple[HubModel, ...] = (
        HubModel("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen2.5-VL 3B", "Qwen2.5-VL 3B", 3.75, "Qwen Research",
                 "qwen2.5-vl-3b", Shape(QWEN25_VIT, Decoder(2048, 36, 16, 2, 11008, 151936, True), WINDOWS),
                 Defaults(7, 31, 18, "original", "published")),
        HubModel("Qwen/Qwen2.5-VL-7B-Instruct", "Qwen2.5-VL 7B", "Qwen2.5-VL 7B", 8.29, "Apache-2.0",
                 "qwen2.5-vl-7b", Shape(QWEN25_VIT, Decoder(3584, 28, 28, 4, 18944, 152064), WINDOWS),
                 Defaults(7, 31, 14, "original", "published")),
        HubModel("Qwen/Qwen2.5-VL-32B-Instruct", "Qwen2.5-VL 32B", "Qwen2.5-VL 32B", 33.45, "Apache-2.0",
                 "qwen2.5-vl-32b", Shape(QWEN25_VIT_32B, Decoder(5120, 64, 40, 8, 27648, 152064), WINDOWS),
                 Defaults(7, 31, 32, "original", "published")),
    )  # fmt: skip
    small_models: tuple[SmallModel, ...] = (
        SmallModel(
            "qwen2.5-vl-small",
            "Qwen2.5-VL",
            66,
            Shape(small_tower(0, 14), SMALL_TEXT, {"fullatt_block_indexes": [1, 3, 5, 7]}),
        ),
    )
    frames = 16  # set by this project; the reference code takes two per second, up to 768

    def vision_tower(self, model: nn.Module) -> Any:
        """The window-attention vision transformer."""
        return self.base(model).visual

    def projector(self, model: nn.Module) -> Any:
        """The merger: 2 x 2 patches become one visual token; rows are in window order."""
        return self.base(model).visual.merger

    def anatomy(self, model: nn.Module) -> Anatomy:
        """Published: local scan at the first full-attention block, global scan at the last block, no RoPE.

        The middle layer is the middle full-attention block, 15 of 32 as in HiPrune's released code.
        """
        config: Any = model.config
        full = config.vision_config.fullatt_block_indexes
        return Anatomy(
            vision_layers=config.vision_config.depth,
            feature_layer=config.vision_config.depth - 1,
            text_layers=config.text_config.num_hidden_layers,
            shallow_layer=full[0],
            has_cls=False,
            positions="original",
            rope_in_scores=False,
            middle_layer=full[(len(full) - 1) // 2],
        )

    def tiles(self, model: nn.Module, tower: Any, args: Any, kwargs: Any) -> Tiles:
        """One tile per temporal slice of every image or video."""
        grid_thw = kwargs.get("grid_thw", kwargs.get("image_grid_thw"))
        side, grids = tower.spatial_merge_size, tuple(map(tuple, grid_thw.tolist()))
        shapes = [(t, h // side, w // side) for t, h, w in grids]
        edge = side * tower.patch_size
        layouts = []
        for times, rows, cols in shapes:
            view = View(frames=times * tower.patch_embed.temporal_patch_size if times > 1 else 0)
            boxes = geometry.patch_boxes(rows, cols, rows * edge, cols * edge)
            boxes = boxes.repeat(times, 1) if times > 1 else boxes  # else no memory while the blocks run
            layouts.append(TokenLayout(times, None, boxes, view, (cols * edge, rows * edge)))
        places = _places.get(tower, (grids, grid_thw.device), lambda: self.places(tower, grid_thw))
        return Tiles([(rows, cols) for times, rows, cols in shapes for _ in range(times)], layouts, places)

    def places(self, tower: Any, grid_thw: Tensor) -> Tensor:
        """(tokens,) the row of the merger of each token."""
        order: Tensor
        order, _ = get_vision_window_index(
            grid_thw,
            spatial_merge_size=tower.spatial_merge_size,
            window_size=tower.window_size,
            patch_size=tower.patch_size,
        )
        return order.argsort()

    def vision_blocks(self, tower: Any) -> nn.ModuleList:
        """The blocks before the merger."""
        blocks: nn.ModuleList = tower.blocks
        return blocks

    def hook_scores(self, model: nn.Module, layer: int, record: Recorder) -> list[RemovableHandle]:
        """Attention received, computed in blocks, summed over heads and averaged over the patches of each token."""
        tower = self.vision_tower(model)
        attn = tower.blocks[layer].attn
        rotate = vars(sys.modules[type(attn).__module__])["apply_rotary_pos_emb_vision"]
        calls: dict[int, Any] = {}  # by thread: several may run one model

        def store_call(module: nn.Module, args: Any, kwargs: Any = None) -> None:
            calls[get_ident()] = kwargs

        def scores(out: Tensor, call: Any) -> Tensor:
            both = out.view(len(out), 3 * attn.num_heads, -1)[:, : 2 * attn.num_heads]  # queries, then keys
            both, _ = rotate(both, both[:, :0], *call["position_embeddings"])
            query, key = both.chunk(2, 1)
            of_patches = received(query, key, call["cu_seqlens"].tolist(), attn.scaling)
            return of_patches.view(-1, tower.spatial_merge_size**2).mean(1)

        def score(module: nn.Module, args: Any, out: Tensor) -> None:
            call = calls.pop(get_ident(), None)
            if call is not None:  # None: another thread's call that was under way when the hooks came
                record(layer, lambda: scores(out, call))

        return [
            attn.register_forward_pre_hook(store_call, with_kwargs=True),
            attn.qkv.register_forward_hook(score),
        ]

    def encode(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """Pictures and videos go through the same tower."""
        run = model.get_video_features if "pixel_values_videos" in batch else model.get_image_features
        return run(**batch, return_dict=True)

    def video_inputs(
        self, processor: Any, prompt: str, frames: Sequence[Image.Image], times: Sequence[float]
    ) -> dict[str, Any]:
        """Pairs of frames, with the seconds from one pair to the next."""
        prepare = processor.image_processor
        pixels, grid = video_patches(prepare, frames)
        tokens = grid[0] * grid[1] * grid[2] // prepare.merge_size**2
        step = (times[-1] - times[0]) / max(len(times) - 1, 1) * prepare.temporal_patch_size
        prompt = prompt.replace(processor.video_token, processor.video_token * tokens)
        return {**video_batch(processor, prompt, pixels, grid), "second_per_grid_ts": torch.tensor([step])}

    def view(self, processor: Any, width: int, height: int) -> View:
        """The picture is stretched to whole patches; only the grid of each call shows how far."""
        return View(size=(width, height))

    def dummy_config(self, shape: Shape, ids: Ids) -> Any:
        """Qwen2.5-VL's own vision tower and language model."""
        return transformers.Qwen2_5_VLConfig(**self._config(shape, ids))

    def _config(self, shape: Shape, ids: Ids) -> dict[str, Any]:
        """For both generations; positions have three axes, which divide the rotary dimensions 2 : 3 : 3."""
        tower, text = shape.tower, shape.text
        eighth = (text.head_dim or text.width // text.heads) // 16
        rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2 * eighth, 3 * eighth, 3 * eighth]}
        vision = {
            "patch_size": tower.patch,
            "hidden_size": tower.width,
            "depth": tower.depth,
            "num_heads": tower.heads,
            "intermediate_size": tower.mlp,
            "out_hidden_size": text.width,
            **shape.extra,
        }
        return {
            "vision_config": vision,
            "text_config": {**text_config(shape, ids), "rope_parameters": rope},
            "image_token_id": ids.image,
            "video_token_id": ids.video,
            "vision_start_token_id": ids.vision_start,
            "vision_end_token_id": ids.vision_end,
            "tie_word_embeddings": text.tied,
        }

    def dummy_processor(self, shape: Shape, tokenizer: Any) -> Any:
        """Pictures become 4 to 1280 visual tokens, as in VScan's evaluation."""
        return self._processor("Qwen2_5_VLProcessor", "Qwen2VLVideoProcessor", shape, tokenizer)

    def _processor(self, name: str, video: str, shape: Shape, tokenizer: Any) -> Any:
        edge = 2 * shape.tower.patch  # of a visual token
        size = {"shortest_edge": 4 * edge * edge, "longest_edge": 1280 * edge * edge}
        return with_videos(
            name,
            transformers.Qwen2VLImageProcessorPil(size=size, patch_size=shape.tower.patch),
            video,
            tokenizer,
            {"patch_size": shape.tower.patch},
            chat_template=chat_template(VISION_START + IMAGE + VISION_END, VISION_START + VIDEO + VISION_END),
        )


def unwindowed(vision_layers: int, text_layers: int) -> Anatomy:
    """A model of this kind without windows: the local scan and the middle at the depths of Qwen2.5-VL (7, 15 of 32)."""
    return Anatomy(
        vision_layers=vision_layers,
        feature_layer=vision_layers - 1,
        text_layers=text_layers,
        shallow_layer=round(vision_layers * 7 / 32),
        has_cls=False,
        positions="original",
        rope_in_scores=False,
        middle_layer=round(vision_layers * 15 / 32),
    )


def in_token_order(tower: Any, grid_thw: Tensor) -> Tensor:
    """(tokens,) the row of the merger of each token, where blocks without windows leave them in order."""
    return torch.arange(int(grid_thw.prod(-1).sum()) // tower.spatial_merge_size**2, device=grid_thw.device)


def video_batch(processor: Any, prompt: str, pixels: Tensor, grid: list[int]) -> dict[str, Any]:
    """A prompt and the patches of a video as keyword arguments of the model."""
    text = processor.tokenizer([prompt], return_tensors="pt", return_token_type_ids=False)
    token = processor.tokenizer.convert_tokens_to_ids(processor.video_token)
    kinds = 2 * (text["input_ids"] == token).int()  # 0 text, 1 picture, 2 video
    return {**text, "mm_token_type_ids": kinds, "pixel_values_videos": pixels, "video_grid_thw": torch.tensor([grid])}


def video_patches(prepare: Any, frames: Sequence[Image.Image]) -> tuple[Tensor, list[int]]:
    """(patches, dim) of a video and its (slices, rows, columns) of patches; an odd last frame is repeated.

    The patches of a picture hold the same frame at every depth; those of a video hold consecutive frames.
    """
    deep, edge = prepare.temporal_patch_size, (prepare.patch_size * prepare.merge_size) ** 2
    even = [*frames, *[frames[-1]] * (-len(frames) % deep)]
    made = prepare(
        even,
        size={"shortest_edge": MIN_SLICE_TOKENS * edge, "longest_edge": MAX_SLICE_TOKENS * edge},
        return_tensors="pt",
    )
    _, rows, cols = made["image_grid_thw"][0].tolist()
    side = prepare.patch_size
    patches = made["pixel_values"].view(len(even) // deep, deep, rows * cols, -1, deep, side, side)[:, :, :, :, 0]
    return patches.permute(0, 2, 3, 1, 4, 5).flatten(2).flatten(0, 1), [len(even) // deep, rows, cols]
