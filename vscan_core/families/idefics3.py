"""Idefics3 and SmolVLM: a SigLIP tower without CLS, several tiles per picture, a pixel shuffle in the connector."""

from __future__ import annotations

from threading import get_ident
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vscan_core import geometry
from vscan_core.families.base import Family, Record
from vscan_core.families.scores import received_by_tile, tap_pair
from vscan_core.families.shuffle import fold, sources
from vscan_core.layout import Layout, Tiles
from vscan_core.selection import Anatomy
from vscan_core.trace import View


class Idefics3(Family):
    """`Idefics3ForConditionalGeneration`.

    There is no published VScan setting. Chosen: attention received as in Qwen2.5-VL, the other family without CLS,
    with the local scan at the same share of depth; renumbered positions and RoPE in the scores as in LLaVA, with
    which it shares one-dimensional positions. The model is not told which tiles are cut from one picture (text
    stands between them), so each tile is an image of its own in budgets and traces; its boxes are in its pixels.
    """

    model_type = "idefics3"
    title = "Idefics3"

    def language_model(self, model: nn.Module) -> Any:
        """Named differently here."""
        return self.base(model).text_model

    def vision_tower(self, model: nn.Module) -> Any:
        """SigLIP for any grid of patches."""
        return self.base(model).vision_model

    def projector(self, model: nn.Module) -> Any:
        """(tiles, tokens, patches per token * dim) -> (tiles, tokens, dim_llm); the shuffle comes before it."""
        return self.base(model).connector.modality_projection

    def see(self, model: nn.Module, args: Any, kwargs: Any) -> Tiles:
        """Square tiles; padding tiles have gone before the tower."""
        pixels = args[0] if args else kwargs["pixel_values"]
        pixels = pixels.flatten(0, -4)
        height, width = pixels.shape[-2:]
        edge = self.vision_tower(model).patch_size * self.base(model).connector.scale_factor
        grid = (height // edge, width // edge)
        boxes = geometry.patch_boxes(*grid, height, width)
        return Tiles([grid] * len(pixels), [Layout(1, None, boxes) for _ in pixels])

    def anatomy(self, model: nn.Module) -> Anatomy:
        """Depths as shares of Qwen2.5-VL's: block 7 of 32."""
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
        )

    def tap(self, model: nn.Module, layer: int, record: Record) -> list[RemovableHandle]:
        """Blockwise column means per tile; padded patches neither pay nor receive."""
        tower, connector = self.vision_tower(model), self.base(model).connector
        attn = tower.encoder.layers[layer].self_attn
        valid: dict[int, Tensor | None] = {}  # by thread: several may run one model

        def keep_mask(module: nn.Module, args: Any, kwargs: Any = None) -> None:
            valid[get_ident()] = (kwargs or {}).get("patch_attention_mask")

        def score(query: Tensor, key: Tensor) -> None:
            scores = received_by_tile(query, key, valid.pop(get_ident(), None), attn)
            side = int(scores.shape[-1] ** 0.5)  # the connector, too, takes every tile for a square
            record(layer, fold(scores, sources(lambda x: _shuffled(connector, x), side, side)))

        mask = tower.register_forward_pre_hook(keep_mask, with_kwargs=True)
        return [mask, *tap_pair(attn.q_proj, attn.k_proj, score)]

    def image_token_id(self, model: nn.Module) -> int:
        """`<image>`."""
        config: Any = model.config
        token: int = config.image_token_id
        return token

    def view(self, processor: Any, width: int, height: int) -> View:
        """Where the tiles lie in the picture does not reach the model."""
        return View()


class SmolVLM(Idefics3):
    """`SmolVLMForConditionalGeneration`: the same parts under another name; frames of a video are tiles, too."""

    model_type = "smolvlm"
    title = "SmolVLM"


def _shuffled(connector: Any, numbers: Tensor) -> Tensor:
    shuffled: Tensor = connector.pixel_shuffle(numbers.flatten(1, 2), connector.scale_factor)
    return shuffled
