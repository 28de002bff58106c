"""Gemma 4: no CLS token, any aspect ratio, 3 x 3 patches per visual token, a decoder with sliding windows."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from threading import get_ident
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vscan_core import geometry
from vscan_core.dummies.processors import IMAGE, VISION_END, VISION_START, chat_template, with_videos
from vscan_core.dummies.shapes import SMALL_TEXT, Decoder, Ids, Shape, Tower, small_tower, text_config
from vscan_core.errors import InputError
from vscan_core.families.base import Family, Recorder
from vscan_core.families.entries import Defaults, HubModel, SmallModel
from vscan_core.families.scores import hook_query_and_key, received_in_each
from vscan_core.families.tiles import Tiles, TokenLayout
from vscan_core.geometry import take
from vscan_core.selection import Anatomy
from vscan_core.trace import View

GEMMA_VIT = Tower(0, 16, 768, 16, 12, 3072)
GEMMA_VIT_LARGE = Tower(0, 16, 1152, 27, 16, 4304)
# every `period`-th layer attends to everything, with wider heads; those after the others reuse their keys and values
_EDGE = {"hidden_size_per_layer_input": 256, "sliding_window": 512, "global_head_dim": 512}
_LARGE = {
    "hidden_size_per_layer_input": 0,
    "sliding_window": 1024,
    "global_head_dim": 512,
    "attention_k_eq_v": True,
    "use_bidirectional_attention": "vision",
}
_E2B = {**_EDGE, "period": 5, "num_kv_shared_layers": 20, "use_double_wide_mlp": True, "audio": True}
_E4B = {**_EDGE, "period": 6, "num_kv_shared_layers": 18, "audio": True}
_MOE = {"enable_moe_block": True, "num_experts": 128, "top_k_experts": 8, "moe_intermediate_size": 704}
_SMALL = {**_EDGE, "hidden_size_per_layer_input": 32, "global_head_dim": 128, "period": 3, "num_kv_shared_layers": 6}


class Gemma4(Family):
    """`Gemma4ForConditionalGeneration`.

    Five of six decoder layers (four of five in E2B) see a window of the last 512 or 1024 tokens; it counts the tokens
    that are left, so that after a cut it reaches further back. In the large models the tokens of a picture see each
    other both ways in these layers, and those that are left still do. Scores of a later cut are those of its layer
    without the window, so that no token is out of its reach. The last layers of E2B and E4B have no keys and values,
    but reuse those of an earlier layer: later cuts can only be before that one, and what is counted for the layers
    after it are the tokens whose keys they read. Videos are not offered; in a call that brings one, every frame is a
    separate picture.

    There is no published VScan setting. Settings of this project: attention received as in Qwen2.5-VL, which has no
    CLS token either, with the local scan at the same relative depth; renumbered positions and RoPE in the scores as in
    LLaVA, which has one-dimensional positions too.
    """

    model_type = "gemma4"
    title = "Gemma 4"
    hub_models = (
        HubModel("google/gemma-4-E2B-it", "Gemma 4 E2B", "Gemma 4 E2B", 5.1, "Apache-2.0", "gemma-4-e2b",
                 Shape(GEMMA_VIT, Decoder(1536, 35, 8, 1, 6144, 262144, True, 256), _E2B),
                 Defaults(4, 15, 13, "renumbered", "ours")),
        HubModel("google/gemma-4-E4B-it", "Gemma 4 E4B", "Gemma 4 E4B", 7.94, "Apache-2.0", "gemma-4-e4b",
                 Shape(GEMMA_VIT, Decoder(2560, 42, 8, 2, 10240, 262144, True, 256), _E4B),
                 Defaults(4, 15, 21, "renumbered", "ours")),
        HubModel("google/gemma-4-26B-A4B-it", "Gemma 4 26B-A4B", "Gemma 4 26B, 4B active", 25.81, "Apache-2.0",
                 "gemma-4-26b-a4b",
                 Shape(GEMMA_VIT_LARGE, Decoder(2816, 30, 16, 8, 2112, 262144, True, 256),
                       {**_LARGE, **_MOE, "num_global_key_value_heads": 2}),
                 Defaults(6, 26, 15, "renumbered", "ours")),
        HubModel("google/gemma-4-31B-it", "Gemma 4 31B", "Gemma 4 31B", 31.27, "Apache-2.0", "gemma-4-31b",
                 Shape(GEMMA_VIT_LARGE, Decoder(5376, 60, 32, 16, 21504, 262144, True, 256),
                       {**_LARGE, "num_global_key_value_heads": 4}),
                 Defaults(6, 26, 30, "renumbered", "ours")),
    )  # fmt: skip
    small_models = (SmallModel("gemma-4-small", "Gemma 4", 76, Shape(small_tower(0, 16), SMALL_TEXT, _SMALL)),)
    nested_pictures = True

    def vision_tower(self, model: nn.Module) -> Any:
        """A transformer over patches of 16 pixels, pooled at its end."""
        return self.base(model).vision_tower

    def projector(self, model: nn.Module) -> Any:
        """(tokens of all pictures, dim) -> (tokens, dim_llm), after a norm without weights."""
        return self.base(model).embed_vision.embedding_projection

    def norm_after_attention(self, layer: Any) -> Any:
        """The norm before the MLP; that after attention comes before the sum."""
        return layer.pre_feedforward_layernorm

    def layer_kinds(self, model: nn.Module) -> list[str]:
        """With a window or without; their rotary embeddings differ."""
        config: Any = model.config
        return list(config.text_config.layer_types)

    def rotary(self, model: nn.Module, hidden: Tensor, positions: Tensor, kind: str) -> tuple[Tensor, Tensor]:
        """Of one kind of layer."""
        found: tuple[Tensor, Tensor] = self.language_model(model).rotary_emb(hidden, positions, kind)
        return found

    def picture_blocks(self, model: nn.Module, token_kinds: Tensor) -> Tensor | None:
        """Each run of placeholders; None in the small models."""
        config: Any = model.config
        if config.text_config.use_bidirectional_attention != "vision":
            return None
        number = vars(sys.modules[type(self.base(model)).__module__])["get_block_sequence_ids_for_mask"]
        blocks: Tensor = number(token_kinds, device=token_kinds.device)
        return blocks

    def shorten_kwargs(self, kwargs: Mapping[str, Any], keep: Tensor, index: Tensor) -> dict[str, Any]:
        """Embeddings of each token for each layer, (batch, length, layers, dim), in the small models."""
        rows = kwargs.get("per_layer_inputs")
        return {} if rows is None else {"per_layer_inputs": take(rows, index.to(rows.device))}

    def visual_token_ids(self, model: Any) -> tuple[int, ...]:
        """The placeholders of pictures and of frames."""
        return (self.image_token_id(model), model.config.video_token_id)

    def encode(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """Pictures and frames go through the same tower."""
        run = model.get_video_features if "pixel_values_videos" in batch else model.get_image_features
        return run(**batch, return_dict=True)

    def tiles(self, model: nn.Module, tower: Any, args: Any, kwargs: Any) -> Tiles:
        """Every picture is one tile, of its own grid; rows of the projector are in token order."""
        positions = kwargs["pixel_position_ids"] if "pixel_position_ids" in kwargs else args[1]
        side, edge = tower.config.pooling_kernel_size, tower.config.pooling_kernel_size * tower.config.patch_size
        grids = [(rows // side, cols // side) for rows, cols in _grids(positions)]
        layouts = [
            TokenLayout(1, None, geometry.patch_boxes(rows, cols, rows * edge, cols * edge), View(),
                        (cols * edge, rows * edge))
            for rows, cols in grids
        ]  # fmt: skip
        total = sum(rows * cols for rows, cols in grids)
        return Tiles(grids, layouts, torch.arange(total, device=positions.device))

    def anatomy(self, model: nn.Module) -> Anatomy:
        """The local scan and the middle are at the relative depths of Qwen2.5-VL: blocks 7 and 15 of 32."""
        config: Any = model.config
        depth, text = config.vision_config.num_hidden_layers, config.text_config
        own = text.num_hidden_layers - text.num_kv_shared_layers
        return Anatomy(
            vision_layers=depth,
            feature_layer=depth - 1,
            text_layers=text.num_hidden_layers,
            shallow_layer=round(depth * 7 / 32),
            has_cls=False,
            positions="renumbered",
            rope_in_scores=True,
            last_cut=min((_last(text.layer_types[:own], kind) for kind in text.layer_types[own:]), default=None),
            middle_layer=round(depth * 15 / 32),
        )

    def hook_scores(self, model: nn.Module, layer: int, record: Recorder) -> list[RemovableHandle]:
        """Attention received inside each picture, computed in blocks, averaged over the patches of each token."""
        tower = self.vision_tower(model)
        attn, side = tower.encoder.layers[layer].self_attn, tower.config.pooling_kernel_size
        rotate = vars(sys.modules[type(attn).__module__])["apply_multidimensional_rope"]
        calls: dict[int, Any] = {}  # by thread: several may run one model

        def store_call(module: nn.Module, args: Any, kwargs: Any = None) -> None:
            calls[get_ident()] = kwargs

        def score(query: Tensor, key: Tensor) -> None:
            call = calls.pop(get_ident(), None)
            if call is not None:  # None: another thread's call that was under way when the hooks came
                record(layer, lambda: scores(query, key, call["position_ids"], call["position_embeddings"]))

        def scores(query: Tensor, key: Tensor, positions: Tensor, rotary: Sequence[Tensor]) -> Tensor:
            query, key = (rotate(rows, *rotary, positions) for rows in (query, key))
            found = []
            for place, (rows, cols) in enumerate(_grids(positions)):  # padding follows the patches
                real = (slice(place, place + 1), slice(rows * cols))
                of_patches = received_in_each(query[real], key[real], attn.scaling)
                found.append(of_patches.view(rows // side, side, cols // side, side).mean((1, 3)).flatten())
            return torch.cat(found)

        before = attn.register_forward_pre_hook(store_call, with_kwargs=True)
        return [before, *hook_query_and_key(attn.q_norm, attn.k_norm, score)]

    def view(self, processor: Any, width: int, height: int) -> View:
        """The picture is stretched to whole tokens; only the positions of each call show how far."""
        return View(size=(width, height))

    def dummy_config(self, shape: Shape, ids: Ids) -> Any:
        """Gemma's own towers and language model; E2B and E4B have one for sound, too."""
        tower, text, more = shape.tower, shape.text, dict(shape.extra)
        period, large = more.pop("period", 6), more.get("use_bidirectional_attention") == "vision"
        vision = {
            "patch_size": tower.patch,
            "hidden_size": tower.width,
            "num_hidden_layers": tower.depth,
            "num_attention_heads": tower.heads,
            "num_key_value_heads": tower.heads,
            "head_dim": tower.width // tower.heads,
            "intermediate_size": tower.mlp,
            "standardize": large,
            "use_clipped_linears": not large,
        }
        kinds = ["sliding_attention" if (layer + 1) % period else "full_attention" for layer in range(text.depth)]
        return transformers.Gemma4Config(
            vision_config=vision,
            audio_config={} if more.pop("audio", False) else None,
            text_config={
                **text_config(shape, ids),
                "head_dim": text.head_dim or text.width // text.heads,
                "vocab_size_per_layer_input": text.vocabulary,
                "layer_types": kinds,
                "final_logit_softcapping": 30.0,
                **more,
            },
            image_token_id=ids.image,
            video_token_id=ids.video,
            audio_token_id=text.vocabulary - 1,  # of no token: the processor's own has another
            boi_token_id=ids.vision_start,
            eoi_token_id=ids.vision_end,
            tie_word_embeddings=text.tied,
        )

    def dummy_processor(self, shape: Shape, tokenizer: Any) -> Any:
        """Pictures become at most 280 visual tokens."""
        sound = {"audio_token": "<audio>", "boa_token": "<sound>", "eoa_token": "</sound>"}
        tokenizer.add_tokens(list(sound.values()), special_tokens=True)
        for name, token in {"image_token": IMAGE, "boi_token": VISION_START, "eoi_token": VISION_END, **sound}.items():
            setattr(tokenizer, name, token)
            setattr(tokenizer, f"{name}_id", tokenizer.convert_tokens_to_ids(token))
        patch = {"patch_size": shape.tower.patch}
        try:
            return with_videos(
                "Gemma4Processor",
                transformers.Gemma4ImageProcessorPil(**patch),
                "Gemma4VideoProcessor",
                tokenizer,
                patch,
                feature_extractor=transformers.Gemma4AudioFeatureExtractor(),
                chat_template=chat_template(),
            )
        except ImportError as error:
            raise InputError("pictures for Gemma 4 need torchvision here: pip install torchvision") from error


def _grids(positions: Tensor) -> list[tuple[int, int]]:
    """(rows, cols) of patches of each picture, from the (x, y) of its patches, (pictures, patches, 2), -1 = padding."""
    return [(rows, cols) for cols, rows in (positions.amax(1) + 1).tolist()]


def _last(kinds: Sequence[str], kind: str) -> int:
    return max(layer for layer, one in enumerate(kinds) if one == kind)
