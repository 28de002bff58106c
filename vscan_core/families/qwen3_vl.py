"""Qwen3-VL: Qwen2.5-VL without windows, with features of earlier vision layers added inside the LLM (deepstack)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import transformers
from PIL import Image
from torch import Tensor, nn

from vscan_core.dummies.shapes import SMALL_TEXT, Decoder, Ids, Shape, Tower, small_tower
from vscan_core.families.entries import Defaults, HubModel, SmallModel
from vscan_core.families.qwen2_5_vl import Qwen25VL, in_token_order, unwindowed, video_batch, video_patches
from vscan_core.geometry import take
from vscan_core.selection import Anatomy

HEAD_DIM = 128  # of the language model, where its configuration has none
QWEN3_VIT = Tower(0, 16, 1024, 24, 16, 4096)
QWEN3_VIT_LARGE = Tower(0, 16, 1152, 27, 16, 4304)


def _deepstack(*layers: int) -> dict[str, Any]:
    return {"deepstack_visual_indexes": list(layers)}


class Qwen3VL(Qwen25VL):
    """`Qwen3VLForConditionalGeneration`.

    There is no published VScan setting. Settings of this project: the local scan at the same relative depth as in
    Qwen2.5-VL (block 7 of 32), original positions (M-RoPE ids have several axes and cannot be renumbered), no RoPE in
    the scores. Deepstack features of dropped tokens are dropped; those of a kept token are unchanged even if others
    merge into it. The first decoder layers add these features, so later cuts are possible only after them.
    """

    model_type = "qwen3_vl"
    title = "Qwen3-VL"
    hub_models = (
        HubModel("Qwen/Qwen3-VL-2B-Instruct", "Qwen3-VL 2B", "Qwen3-VL 2B", 2.13, "Apache-2.0", "qwen3-vl-2b",
                 Shape(QWEN3_VIT, Decoder(2048, 28, 16, 8, 6144, 151936, True, 128), _deepstack(5, 11, 17)),
                 Defaults(5, 23, 14, "original", "ours")),
        HubModel("Qwen/Qwen3-VL-4B-Instruct", "Qwen3-VL 4B", "Qwen3-VL 4B", 4.44, "Apache-2.0", "qwen3-vl-4b",
                 Shape(QWEN3_VIT, Decoder(2560, 36, 32, 8, 9728, 151936, True, 128), _deepstack(5, 11, 17)),
                 Defaults(5, 23, 18, "original", "ours")),
        HubModel("Qwen/Qwen3-VL-8B-Instruct", "Qwen3-VL 8B", "Qwen3-VL 8B", 8.77, "Apache-2.0", "qwen3-vl-8b",
                 Shape(QWEN3_VIT_LARGE, Decoder(4096, 36, 32, 8, 12288, 151936, False, 128), _deepstack(8, 16, 24)),
                 Defaults(6, 26, 18, "original", "ours")),
    )  # fmt: skip
    small_models = (
        SmallModel("qwen3-vl-small", "Qwen3-VL", 82, Shape(small_tower(0, 16), SMALL_TEXT, _deepstack(1, 3, 5))),
    )

    def anatomy(self, model: nn.Module) -> Anatomy:
        """No block has windows, so the shallow and the middle layer depend only on the depth."""
        config: Any = model.config
        anatomy = unwindowed(config.vision_config.depth, config.text_config.num_hidden_layers)
        return replace(anatomy, first_cut=max(1, len(config.vision_config.deepstack_visual_indexes)))

    def vision_outputs(self, model: nn.Module) -> tuple[int, ...]:
        """The last layer, and those whose features enter the LLM."""
        config: Any = model.config
        return (*config.vision_config.deepstack_visual_indexes, *super().vision_outputs(model))

    def video_inputs(
        self, processor: Any, prompt: str, frames: Sequence[Image.Image], times: Sequence[float]
    ) -> dict[str, Any]:
        """Pairs of frames, each with its mean time as text before it."""
        prepare = processor.image_processor
        pixels, grid = video_patches(prepare, frames)
        tokens, deep = grid[1] * grid[2] // prepare.merge_size**2, prepare.temporal_patch_size
        start, end, pad = processor.vision_start_token, processor.vision_end_token, processor.video_token
        pairs = [times[i : i + deep] for i in range(0, len(times), deep)]
        text = "".join(f"<{sum(pair) / len(pair):.1f} seconds>{start}{pad * tokens}{end}" for pair in pairs)
        whole = f"{start}{pad}{end}"
        return video_batch(processor, prompt.replace(whole if whole in prompt else pad, text), pixels, grid)

    def places(self, tower: Any, grid_thw: Tensor) -> Tensor:
        """Rows of the merger are in token order."""
        return in_token_order(tower, grid_thw)

    def shorten_kwargs(self, kwargs: Mapping[str, Any], keep: Tensor, index: Tensor) -> dict[str, Any]:
        """Deepstack features, (visual tokens of the batch, dim) per layer, and the mask of their positions."""
        visual, features = kwargs.get("visual_pos_masks"), kwargs.get("deepstack_visual_embeds")
        if visual is None or features is None:
            return {}
        stay = keep[visual].nonzero()[:, 0]  # once: an index by a mask would wait for each of the layers
        return {
            "visual_pos_masks": take(visual & keep, index),
            "deepstack_visual_embeds": [rows[stay.to(rows.device)] for rows in features],
        }

    def dummy_config(self, shape: Shape, ids: Ids) -> Any:
        """That of Qwen2.5-VL, with deepstack layers instead of windows, and the axes of the positions interleaved."""
        config = self._config(shape, ids)
        part = (shape.text.head_dim or HEAD_DIM) // 32  # of the rotary frequencies, a sixteenth
        axes = {"mrope_section": [6 * part, 5 * part, 5 * part], "mrope_interleaved": True}
        config["text_config"]["rope_parameters"] |= axes
        return transformers.Qwen3VLConfig(**config)

    def dummy_processor(self, shape: Shape, tokenizer: Any) -> Any:
        """That of Qwen2.5-VL, with another video processor."""
        return self._processor("Qwen3VLProcessor", "Qwen3VLVideoProcessor", shape, tokenizer)
