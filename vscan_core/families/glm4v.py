"""GLM-4.1V and GLM-4.6V-Flash: no CLS token, any resolution, M-RoPE as in Qwen2.5-VL, but no windows."""

from __future__ import annotations

from typing import Any

import transformers
from torch import Tensor, nn

from vscan_core.dummies.processors import IMAGE, VIDEO, VISION_END, VISION_START, chat_template, with_videos
from vscan_core.dummies.shapes import SMALL_TEXT, Decoder, Ids, Shape, Tower, small_tower, text_config
from vscan_core.families.entries import Defaults, HubModel, SmallModel
from vscan_core.families.qwen2_5_vl import Qwen25VL, in_token_order, unwindowed
from vscan_core.selection import Anatomy

GLM_VIT = Tower(336, 14, 1536, 24, 12, 13696)
GLM4_9B = Decoder(4096, 40, 32, 2, 13696, 151552)
DEFAULTS_9B = Defaults(5, 23, 20, "original", "ours")


class Glm4V(Qwen25VL):
    """`Glm4vForConditionalGeneration`.

    There is no published VScan setting. Settings of this project are as for Qwen3-VL: the local scan at the relative
    depth of Qwen2.5-VL's (block 7 of 32), original positions (M-RoPE ids have several axes and cannot be renumbered),
    no RoPE in the scores. Videos are not offered; in a call that brings one, every temporal slice is a separate image,
    because the model passes slices to its encoder as if they were pictures.
    """

    model_type = "glm4v"
    title = "GLM-4.6V"
    hub_models = (
        HubModel("zai-org/GLM-4.6V-Flash", "GLM-4.6V Flash 9B", "GLM-4.6V Flash 9B", 10.29, "MIT", "glm-4.6v-flash",
                 Shape(GLM_VIT, GLM4_9B), DEFAULTS_9B),
        HubModel("zai-org/GLM-4.1V-9B-Thinking", "GLM-4.1V 9B Thinking", "GLM-4.1V 9B Thinking", 10.29, "MIT",
                 "glm-4.1v-9b", Shape(GLM_VIT, GLM4_9B), DEFAULTS_9B),
    )  # fmt: skip
    small_models = (SmallModel("glm-4.6v-small", "GLM-4.6V", 57, Shape(small_tower(336, 14), SMALL_TEXT)),)
    frames = 0

    def anatomy(self, model: nn.Module) -> Anatomy:
        """No block has windows, so the shallow and the middle layer depend only on the depth."""
        config: Any = model.config
        return unwindowed(config.vision_config.depth, config.text_config.num_hidden_layers)

    def visual_token_ids(self, model: nn.Module) -> tuple[int, ...]:
        """The placeholder of pictures; slices of a video have the same one."""
        return (self.image_token_id(model),)

    def places(self, tower: Any, grid_thw: Tensor) -> Tensor:
        """Rows of the merger are in token order."""
        return in_token_order(tower, grid_thw)

    def dummy_config(self, shape: Shape, ids: Ids) -> Any:
        """GLM's own vision tower and language model. Half of each head rotates, in sections of 2 : 3 : 3."""
        tower, text = shape.tower, shape.text
        eighth = text.width // text.heads // 32
        vision = {
            "image_size": tower.image,
            "patch_size": tower.patch,
            "hidden_size": tower.width,
            "depth": tower.depth,
            "num_heads": tower.heads,
            "intermediate_size": tower.mlp,
            "out_hidden_size": text.width,
        }
        rope = {
            "rope_type": "default",
            "rope_theta": 1e4,
            "partial_rotary_factor": 0.5,
            "mrope_section": [2 * eighth, 3 * eighth, 3 * eighth],
        }
        return transformers.Glm4vConfig(
            vision_config=vision,
            text_config={**text_config(shape, ids), "rope_parameters": rope},
            image_token_id=ids.image,
            video_token_id=ids.video,
            image_start_token_id=ids.vision_start,
            image_end_token_id=ids.vision_end,
            tie_word_embeddings=text.tied,
        )

    def dummy_processor(self, shape: Shape, tokenizer: Any) -> Any:
        """Pictures become 16 to 1280 visual tokens."""
        edge = 2 * shape.tower.patch  # of a visual token
        size = {"shortest_edge": 2 * 16 * edge * edge, "longest_edge": 2 * 1280 * edge * edge}  # of two equal frames
        return with_videos(
            "Glm46VProcessor",
            transformers.Glm46VImageProcessorPil(size=size, patch_size=shape.tower.patch),
            "Glm46VVideoProcessor",
            tokenizer,
            {"patch_size": shape.tower.patch},
            chat_template=chat_template(VISION_START + IMAGE + VISION_END, VISION_START + VIDEO + VISION_END),
        )
