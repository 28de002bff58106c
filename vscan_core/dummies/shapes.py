"""The sizes of a model with random weights, and the transformers configurations made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_POSITIONS = 32768  # tokens; enough for a picture of many tiles


@dataclass(frozen=True)
class Tower:
    """Sizes of a vision encoder: its pictures (or tiles) and patches in pixels, and its transformer."""

    image: int  # 0: pictures of any size
    patch: int
    width: int
    depth: int
    heads: int
    mlp: int


@dataclass(frozen=True)
class LinearHeads:
    """Sizes of gated linear attention, which all decoder layers but every fourth have."""

    keys: int
    values: int
    width: int = 128  # of each

    def layer_types(self, depth: int) -> list[str]:
        """The kind of each of `depth` layers."""
        return ["linear_attention" if (layer + 1) % 4 else "full_attention" for layer in range(depth)]


@dataclass(frozen=True)
class Decoder:
    """Sizes of a language model."""

    width: int
    depth: int
    heads: int
    kv_heads: int
    mlp: int
    vocabulary: int
    tied: bool = False  # one matrix for embeddings and LM head
    head_dim: int | None = None  # None = width / heads
    linear: LinearHeads | None = None  # None = every layer has attention


@dataclass(frozen=True)
class Shape:
    """Everything that determines the time and memory of a model."""

    tower: Tower
    text: Decoder
    extra: Mapping[str, Any] = field(default_factory=dict)  # settings that only this family has
    tiles: int = 4  # along a picture's longer side, where the processor has such a limit (Idefics3, SmolVLM)


@dataclass(frozen=True)
class Ids:
    """Token ids that a configuration must contain."""

    image: int
    video: int
    vision_start: int
    vision_end: int
    start: int | None = None  # of a sequence
    pad: int | None = None


SMALL_TEXT = Decoder(512, 12, 8, 4, 1408, 8192)


def small_tower(image: int, patch: int, width: int = 384) -> Tower:
    """A vision encoder for a CPU, with as many visual tokens as the real one of the same `image` and `patch`."""
    return Tower(image, patch, width, 8, 6, 4 * width)


def tower_config(shape: Shape) -> dict[str, Any]:
    """The settings of a vision encoder, as CLIP, SigLIP and InternViT name them."""
    tower = shape.tower
    return {
        "image_size": tower.image,
        "patch_size": tower.patch,
        "hidden_size": tower.width,
        "num_hidden_layers": tower.depth,
        "num_attention_heads": tower.heads,
        "intermediate_size": tower.mlp,
    }


def text_config(shape: Shape, ids: Ids, model_type: str | None = None) -> dict[str, Any]:
    """The settings of the language model. It has no end token: random weights never end an answer."""
    text = shape.text
    config: dict[str, Any] = {
        "hidden_size": text.width,
        "num_hidden_layers": text.depth,
        "num_attention_heads": text.heads,
        "num_key_value_heads": text.kv_heads,
        "intermediate_size": text.mlp,
        "vocab_size": text.vocabulary,
        "max_position_embeddings": MAX_POSITIONS,
        "bos_token_id": ids.start,
        "eos_token_id": None,
        "pad_token_id": ids.pad,
        "tie_word_embeddings": text.tied,
    }
    if text.head_dim is not None:
        config["head_dim"] = text.head_dim
    if text.linear is not None:
        config |= {
            "layer_types": text.linear.layer_types(text.depth),
            "linear_num_key_heads": text.linear.keys,
            "linear_num_value_heads": text.linear.values,
            "linear_key_head_dim": text.linear.width,
            "linear_value_head_dim": text.linear.width,
        }
    return config if model_type is None else {"model_type": model_type, **config}
