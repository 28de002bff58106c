"""Qwen3.5: the encoder of Qwen3-VL without deepstack; most decoder layers have gated linear attention, not softmax."""

from __future__ import annotations

from typing import Any

import transformers
from torch import nn

from vscan_core.dummies.shapes import Decoder, Ids, LinearHeads, Shape, Tower, small_tower, text_config
from vscan_core.families.entries import Defaults, HubModel, SmallModel
from vscan_core.families.qwen2_5_vl import unwindowed
from vscan_core.families.qwen3_vl import QWEN3_VIT, QWEN3_VIT_LARGE, Qwen3VL
from vscan_core.selection import Anatomy

QWEN35_VIT_SMALL = Tower(0, 16, 768, 12, 12, 3072)
SMALL_HYBRID = Decoder(512, 12, 8, 4, 1408, 8192, False, None, LinearHeads(4, 8, 64))


class Qwen35(Qwen3VL):
    """`Qwen3_5ForConditionalGeneration`.

    Three of four decoder layers have gated linear attention: each token changes a state of fixed size, and a state
    cannot forget a token that it has seen. What a cut at layer k means is therefore: layers before k have the dropped
    tokens in their states and caches, as with any model; layers from k on never see them, so that their states and
    convolutions hold the kept tokens alone, side by side. This is exact, and tests compare it with a recompute in which
    the dropped tokens never enter these layers. Linear layers give no attention scores: a method that needs some gets
    those of the last softmax layer at or before the layer that it names. So such a method cannot cut before the first
    of these, layer 3 (layer 4 if it scores in the layer before the cut, as FastV does), nor twice without one between.
    In a batch, rows of different lengths cannot be continued after their first turn, because padding would enter the
    states.

    There is no published VScan setting. Settings of this project are those of Qwen3-VL.
    """

    model_type = "qwen3_5"
    title = "Qwen3.5"
    hub_models = (
        HubModel("Qwen/Qwen3.5-0.8B", "Qwen3.5 0.8B", "Qwen3.5 0.8B", 0.85, "Apache-2.0", "qwen3.5-0.8b",
                 Shape(QWEN35_VIT_SMALL, Decoder(1024, 24, 8, 2, 3584, 248320, True, 256, LinearHeads(16, 16))),
                 Defaults(3, 11, 12, "original", "ours")),
        HubModel("Qwen/Qwen3.5-4B", "Qwen3.5 4B", "Qwen3.5 4B", 4.54, "Apache-2.0", "qwen3.5-4b",
                 Shape(QWEN3_VIT, Decoder(2560, 32, 16, 4, 9216, 248320, True, 256, LinearHeads(16, 32))),
                 Defaults(5, 23, 16, "original", "ours")),
        HubModel("Qwen/Qwen3.5-9B", "Qwen3.5 9B", "Qwen3.5 9B", 9.41, "Apache-2.0", "qwen3.5-9b",
                 Shape(QWEN3_VIT_LARGE, Decoder(4096, 32, 16, 4, 12288, 248320, False, 256, LinearHeads(16, 32))),
                 Defaults(6, 26, 16, "original", "ours")),
    )  # fmt: skip
    small_models = (SmallModel("qwen3.5-small", "Qwen3.5", 75, Shape(small_tower(0, 16), SMALL_HYBRID)),)

    def anatomy(self, model: nn.Module) -> Anatomy:
        """As for Qwen3-VL, but nothing is added inside the LLM."""
        config: Any = model.config
        return unwindowed(config.vision_config.depth, config.text_config.num_hidden_layers)

    def vision_outputs(self, model: nn.Module) -> tuple[int, ...]:
        """The last layer alone."""
        return (self.anatomy(model).feature_layer,)

    def dummy_config(self, shape: Shape, ids: Ids) -> Any:
        """Qwen3-VL's encoder and a hybrid decoder; a quarter of each head rotates, its axes by turns, 11 : 11 : 10."""
        settings, text = self._config(shape, ids), text_config(shape, ids)
        part = (shape.text.head_dim or shape.text.width // shape.text.heads) // 8
        rope = {
            "rope_type": "default",
            "rope_theta": 1e7,
            "partial_rotary_factor": 0.25,
            "mrope_section": [(part + 2) // 3, (part + 1) // 3, part // 3],
        }
        return transformers.Qwen3_5Config(**{**settings, "text_config": {**text, "rope_parameters": rope}})
