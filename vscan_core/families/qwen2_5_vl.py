"""Qwen2.5-VL: no CLS token, any resolution, vision tokens in window order, M-RoPE. Scores are attention received."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from threading import get_ident
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.vision_utils import get_vision_window_index

from vscan_core import geometry
from vscan_core.families.base import Family, Record
from vscan_core.families.scores import received
from vscan_core.families.tiles import Tiles, TokenLayout
from vscan_core.selection import Anatomy
from vscan_core.trace import View

FEWEST, MOST = 128, 768  # visual tokens per temporal slice of a video: the reference code's limits


class Qwen25VL(Family):
    """`Qwen2_5_VLForConditionalGeneration`. An image is one tile, of a video every temporal slice is one.

    A slice is two frames: the encoder's patches are two frames deep. Of a video, cut 0 keeps as many tokens of each
    slice, and later cuts choose from the whole video, as for Video-LLaVA; the paper has no setting for videos here.
    """

    model_type = "qwen2_5_vl"
    title = "Qwen2.5-VL"
    frames = 16  # our choice: the reference code takes two per second, up to 768

    def vision_tower(self, model: nn.Module) -> Any:
        """The window-attention vision transformer."""
        return self.base(model).visual

    def projector(self, model: nn.Module) -> Any:
        """The merger: 2 x 2 patches become one visual token; rows are in window order."""
        return self.base(model).visual.merger

    def anatomy(self, model: nn.Module) -> Anatomy:
        """Published: first full-attention block for the local scan, the last block for the global one, no RoPE."""
        config: Any = model.config
        return Anatomy(
            vision_layers=config.vision_config.depth,
            feature_layer=config.vision_config.depth - 1,
            text_layers=config.text_config.num_hidden_layers,
            shallow_layer=config.vision_config.fullatt_block_indexes[0],
            has_cls=False,
            positions="original",
            rope_in_scores=False,
        )

    def see(self, model: nn.Module, args: Any, kwargs: Any) -> Tiles:
        """One tile per temporal slice of every image or video."""
        tower = self.vision_tower(model)
        grid_thw = kwargs.get("grid_thw", kwargs.get("image_grid_thw"))
        side = tower.spatial_merge_size
        shapes = [(int(t), int(h) // side, int(w) // side) for t, h, w in grid_thw.tolist()]
        edge = side * tower.patch_size
        layouts = []
        for times, rows, cols in shapes:
            view = View(frames=times * tower.patch_embed.temporal_patch_size if times > 1 else 0)
            boxes = geometry.patch_boxes(rows, cols, rows * edge, cols * edge).repeat(times, 1)
            layouts.append(TokenLayout(times, None, boxes, view, (cols * edge, rows * edge)))
        return Tiles(
            [(rows, cols) for times, rows, cols in shapes for _ in range(times)], layouts, self.order(tower, grid_thw)
        )

    def order(self, tower: Any, grid_thw: Tensor) -> Tensor:
        """(rows,) token of each row of the merger."""
        order: Tensor
        order, _ = get_vision_window_index(
            grid_thw,
            spatial_merge_size=tower.spatial_merge_size,
            window_size=tower.window_size,
            patch_size=tower.patch_size,
        )
        return order

    def tap(self, model: nn.Module, layer: int, record: Record) -> list[RemovableHandle]:
        """Blockwise column means of the block's attention, summed over heads and averaged over a token's patches."""
        tower = self.vision_tower(model)
        attn = tower.blocks[layer].attn
        rotate = vars(sys.modules[type(attn).__module__])["apply_rotary_pos_emb_vision"]
        calls: dict[int, Any] = {}  # by thread: several may run one model

        def keep_call(module: nn.Module, args: Any, kwargs: Any = None) -> None:
            calls[get_ident()] = kwargs

        def score(module: nn.Module, args: Any, out: Tensor) -> None:
            call = calls.pop(get_ident(), None)
            if call is not None:  # None: another thread's call that was under way when the hooks came
                query, key, _ = out.view(len(out), 3, attn.num_heads, -1).unbind(1)
                query, key = rotate(query, key, *call["position_embeddings"])
                paid = received(query, key, call["cu_seqlens"].tolist(), attn.scaling)
                record(layer, paid.view(-1, tower.spatial_merge_unit).mean(1))

        return [
            attn.register_forward_pre_hook(keep_call, with_kwargs=True),
            attn.qkv.register_forward_hook(score),
        ]

    def image_token_id(self, model: nn.Module) -> int:
        """`<|image_pad|>`."""
        config: Any = model.config
        token: int = config.image_token_id
        return token

    def visual_token_ids(self, model: nn.Module) -> tuple[int, ...]:
        """`<|image_pad|>` and `<|video_pad|>`."""
        config: Any = model.config
        return self.image_token_id(model), config.video_token_id

    def encode(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """Pictures and videos go through the same tower."""
        run = model.get_video_features if "pixel_values_videos" in batch else model.get_image_features
        return run(**batch, return_dict=True)

    def video_inputs(
        self, processor: Any, prompt: str, frames: Sequence[Image.Image], times: Sequence[float]
    ) -> dict[str, Any]:
        """Pairs of frames, with the seconds from one pair to the next."""
        prepare = processor.image_processor
        pixels, grid = slices(prepare, frames)
        tokens = grid[0] * grid[1] * grid[2] // prepare.merge_size**2
        step = (times[-1] - times[0]) / max(len(times) - 1, 1) * prepare.temporal_patch_size
        prompt = prompt.replace(processor.video_token, processor.video_token * tokens)
        return {**filmed(processor, prompt, pixels, grid), "second_per_grid_ts": torch.tensor([step])}

    def view(self, processor: Any, width: int, height: int) -> View:
        """The picture is stretched to whole patches; how far shows only in the grid of each call."""
        return View(size=(width, height))


def filmed(processor: Any, prompt: str, pixels: Tensor, grid: list[int]) -> dict[str, Any]:
    """Words and pixels of a video as keyword arguments of the model."""
    words = processor.tokenizer([prompt], return_tensors="pt", return_token_type_ids=False)
    token = processor.tokenizer.convert_tokens_to_ids(processor.video_token)
    kinds = 2 * (words["input_ids"] == token).int()  # 0 text, 1 picture, 2 video
    return {**words, "mm_token_type_ids": kinds, "pixel_values_videos": pixels, "video_grid_thw": torch.tensor([grid])}


def slices(prepare: Any, frames: Sequence[Image.Image]) -> tuple[Tensor, list[int]]:
    """(patches, dim) of a video and its (slices, rows, columns) of patches; an odd last frame is shown twice.

    A picture's patches hold the same frame at every depth; here each depth gets its own.
    """
    deep, edge = prepare.temporal_patch_size, (prepare.patch_size * prepare.merge_size) ** 2
    even = [*frames, *[frames[-1]] * (-len(frames) % deep)]
    made = prepare(even, size={"shortest_edge": FEWEST * edge, "longest_edge": MOST * edge}, return_tensors="pt")
    _, rows, cols = made["image_grid_thw"][0].tolist()
    side = prepare.patch_size
    patches = made["pixel_values"].view(len(even) // deep, deep, rows * cols, -1, deep, side, side)[:, :, :, :, 0]
    return patches.permute(0, 2, 3, 1, 4, 5).flatten(2).flatten(0, 1), [len(even) // deep, rows, cols]
