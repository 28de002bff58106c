"""Idefics3 and SmolVLM: a SigLIP tower without CLS, several tiles per picture, a pixel shuffle in the connector."""

from __future__ import annotations

from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vscan_core import geometry
from vscan_core.families.base import Family, Record, received
from vscan_core.families.shuffle import fold, sources
from vscan_core.layout import Layout, Tiles
from vscan_core.selection import Anatomy, View


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
        calls: dict[int, dict[str, Any]] = {}  # by thread: several may run one model

        def open_call(module: nn.Module, args: Any, kwargs: Any = None) -> None:
            calls[get_ident()] = {"valid": (kwargs or {}).get("patch_attention_mask")}

        def keep_query(module: nn.Module, args: Any, out: Tensor) -> None:
            if get_ident() in calls:
                calls[get_ident()]["query"] = out

        def score(module: nn.Module, args: Any, key: Tensor) -> None:
            call = calls.pop(get_ident(), {})
            if "query" in call:  # else another thread's call that was under way when the hooks came
                scores = _by_tile(call["query"], key, call["valid"], attn)
                side = int(scores.shape[-1] ** 0.5)  # the connector, too, takes every tile for a square
                record(layer, fold(scores, sources(lambda x: _shuffled(connector, x), side, side)))

        return [
            tower.register_forward_pre_hook(open_call, with_kwargs=True),
            attn.q_proj.register_forward_hook(keep_query),
            attn.k_proj.register_forward_hook(score),
        ]

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


def _by_tile(query: Tensor, key: Tensor, valid: Tensor | None, attn: Any) -> Tensor:
    """query, key (tiles, patches, dim) -> (tiles, patches) attention received; 0 for padded patches."""
    tiles, patches = query.shape[:2]
    query, key = (rows.view(tiles, patches, attn.num_heads, -1) for rows in (query, key))
    scores = torch.zeros(tiles, patches, device=query.device)
    for i in range(tiles):
        real = torch.arange(patches, device=query.device) if valid is None else valid[i].flatten().nonzero()[:, 0]
        scores[i, real] = received(query[i, real], key[i, real], [0, len(real)], attn.scale)
    return scores


def _shuffled(connector: Any, numbers: Tensor) -> Tensor:
    shuffled: Tensor = connector.pixel_shuffle(numbers.flatten(1, 2), connector.scale_factor)
    return shuffled
