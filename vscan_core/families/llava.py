"""LLaVA-1.5: a CLIP tower, a two-layer projector, a Llama-like decoder; one square of patches per image."""

from __future__ import annotations

from threading import get_ident
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vscan_core import geometry
from vscan_core.errors import InputError
from vscan_core.families.base import Family, Record, cls_row, mean_keys
from vscan_core.layout import Layout, Tiles
from vscan_core.selection import Anatomy, View


class Llava(Family):
    """`LlavaForConditionalGeneration`, as it comes from transformers."""

    model_type = "llava"
    title = "LLaVA-1.5"
    gives_keys = True

    def vision_tower(self, model: nn.Module) -> Any:
        """The CLIP vision model."""
        return self.base(model).vision_tower

    def projector(self, model: nn.Module) -> Any:
        """(images, tokens, dim) -> (images, tokens, dim_llm)."""
        return self.base(model).multi_modal_projector

    def see(self, model: nn.Module, args: Any, kwargs: Any) -> Tiles:
        """Every picture is one square tile."""
        pixels = args[0] if args else kwargs["pixel_values"]
        height, width = pixels.shape[-2:]
        patch = self.vision_tower(model).config.patch_size
        grid = (height // patch, width // patch)
        views = getattr(pixels, "views", None) or [View()] * len(pixels)
        boxes = geometry.patch_boxes(*grid, height, width)
        return Tiles([grid] * len(pixels), [Layout(1, None, boxes, view) for view in views])

    def anatomy(self, model: nn.Module) -> Anatomy:
        """VScan's released code scans attentions[5] of CLIP's 24 layers locally; other depths take the same share."""
        config: Any = model.config
        if config.vision_feature_select_strategy != "default":
            raise InputError('only vision_feature_select_strategy="default" (no CLS among the visual tokens) works')
        depth = config.vision_config.num_hidden_layers
        chosen = config.vision_feature_layer
        states = [chosen] if isinstance(chosen, int) else chosen
        # hidden_states[0] is what enters layer 0, so hidden_states[i] is the output of layer i - 1
        feature_layer = max(state if state >= 0 else depth + 1 + state for state in states) - 1
        return Anatomy(
            vision_layers=depth,
            feature_layer=feature_layer,
            text_layers=config.text_config.num_hidden_layers,
            shallow_layer=round(depth * 5 / 24),
            positions="renumbered",
            rope_in_scores=True,
        )

    def tap(self, model: nn.Module, layer: int, record: Record) -> list[RemovableHandle]:
        """Keep the CLS query and all keys of the layer's own projections; no second pass, no attention map."""
        attn = self._attention(model, layer)
        queries: dict[int, Tensor] = {}  # by thread: several may run one model

        def keep_query(module: nn.Module, args: Any, out: Tensor) -> None:
            queries[get_ident()] = out[:, :1]

        def score(module: nn.Module, args: Any, out: Tensor) -> None:
            query = queries.pop(get_ident(), None)
            if query is not None:  # None: another thread's call that was under way when the hooks came
                record(layer, cls_row(query, out, attn.num_heads))

        return [attn.q_proj.register_forward_hook(keep_query), attn.k_proj.register_forward_hook(score)]

    def tap_keys(self, model: nn.Module, layer: int, record: Record) -> list[RemovableHandle]:
        """Average the layer's own keys over heads."""
        attn = self._attention(model, layer)

        def keep(module: nn.Module, args: Any, out: Tensor) -> None:
            record(layer, mean_keys(out, attn.num_heads))

        return [attn.k_proj.register_forward_hook(keep)]

    def _attention(self, model: nn.Module, layer: int) -> Any:
        tower = self.vision_tower(model)
        encoder = getattr(tower, "vision_model", tower)
        if not hasattr(encoder.embeddings, "class_embedding"):
            raise InputError("this LLaVA has a vision tower without a CLS token, which is not supported")
        return encoder.encoder.layers[layer].self_attn

    def image_token_id(self, model: nn.Module) -> int:
        """`<image>`."""
        config: Any = model.config
        token: int = config.image_token_id
        return token

    def view(self, processor: Any, width: int, height: int) -> View:
        """CLIP's preparation: shortest edge to the model's size, then the centre square; or a plain resize."""
        prepare = processor.image_processor
        size, crop = dict(prepare.size), dict(prepare.crop_size or {})
        if not prepare.do_resize:
            scaled = (width, height)
        elif "shortest_edge" in size:
            factor = size["shortest_edge"] / min(width, height)
            scaled = (max(1, int(width * factor)), max(1, int(height * factor)))
        else:
            scaled = (size["width"], size["height"])
        scale = (width / scaled[0], height / scaled[1])
        offset = (0.0, 0.0)
        if prepare.do_center_crop:
            offset = ((scaled[0] - crop["width"]) // 2 * scale[0], (scaled[1] - crop["height"]) // 2 * scale[1])
        return View(scale=scale, offset=offset, size=(width, height))
