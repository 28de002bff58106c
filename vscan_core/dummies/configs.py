"""A Shape becomes the configuration of a stock transformers model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import transformers

from vscan_core.dummies.shapes import Shape

LONGEST = 32768  # positions, so that many tiles fit
LLAMA, QWEN2 = "llama", "qwen2"


@dataclass(frozen=True)
class Ids:
    """Token ids that a configuration has to name."""

    image: int
    video: int
    vision_start: int
    vision_end: int
    start: int | None = None  # of a sequence
    pad: int | None = None


def config_of(shape: Shape, ids: Ids) -> Any:
    """The configuration; random weights never end an answer, so there is no end token."""
    return _FAMILIES[shape.family](shape, ids)


def _text(shape: Shape, ids: Ids, kind: str | None = None) -> dict[str, Any]:
    text = shape.text
    config: dict[str, Any] = {
        "hidden_size": text.width,
        "num_hidden_layers": text.depth,
        "num_attention_heads": text.heads,
        "num_key_value_heads": text.kv_heads,
        "intermediate_size": text.mlp,
        "vocab_size": text.vocabulary,
        "max_position_embeddings": LONGEST,
        "bos_token_id": ids.start,
        "eos_token_id": None,
        "pad_token_id": ids.pad,
        "tie_word_embeddings": text.tied,
    }
    if text.head_dim is not None:
        config["head_dim"] = text.head_dim
    return config if kind is None else {"model_type": kind, **config}


def _tower(shape: Shape) -> dict[str, Any]:
    tower = shape.tower
    return {
        "image_size": tower.image,
        "patch_size": tower.patch,
        "hidden_size": tower.width,
        "num_hidden_layers": tower.depth,
        "num_attention_heads": tower.heads,
        "intermediate_size": tower.mlp,
    }


def _llava(shape: Shape, ids: Ids) -> Any:
    return transformers.LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **_tower(shape)},
        text_config=_text(shape, ids, LLAMA),
        image_token_index=ids.image,
        vision_feature_layer=-2,
    )


def _llava_next(shape: Shape, ids: Ids) -> Any:
    return transformers.LlavaNextConfig(
        vision_config={"model_type": "clip_vision_model", **_tower(shape)},
        text_config=_text(shape, ids, LLAMA),
        image_token_index=ids.image,
        vision_feature_layer=-2,
        **shape.more,
    )


def _llava_onevision(shape: Shape, ids: Ids) -> Any:
    return transformers.LlavaOnevisionConfig(
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **_tower(shape)},
        text_config=_text(shape, ids, QWEN2),
        image_token_index=ids.image,
        video_token_index=ids.video,
        tie_word_embeddings=shape.text.tied,
        **shape.more,
    )


def _video_llava(shape: Shape, ids: Ids) -> Any:
    return transformers.VideoLlavaConfig(
        vision_config={"model_type": "clip_vision_model", **_tower(shape)},
        text_config=_text(shape, ids, LLAMA),
        image_token_index=ids.image,
        video_token_index=ids.video,
    )


def _qwen2_5_vl(shape: Shape, ids: Ids) -> Any:
    return transformers.Qwen2_5_VLConfig(**_qwen(shape, ids))


def _qwen3_vl(shape: Shape, ids: Ids) -> Any:
    return transformers.Qwen3VLConfig(**_qwen(shape, ids))


def _qwen(shape: Shape, ids: Ids) -> dict[str, Any]:
    """Both generations; positions have three axes, which share the rotary dimensions 2 : 3 : 3."""
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
        **shape.more,
    }
    return {
        "vision_config": vision,
        "text_config": {**_text(shape, ids), "rope_parameters": rope},
        "image_token_id": ids.image,
        "video_token_id": ids.video,
        "vision_start_token_id": ids.vision_start,
        "vision_end_token_id": ids.vision_end,
        "tie_word_embeddings": text.tied,
    }


def _internvl(shape: Shape, ids: Ids) -> Any:
    side = shape.tower.image // shape.tower.patch // 2
    return transformers.InternVLConfig(
        vision_config=_tower(shape),
        text_config=_text(shape, ids, QWEN2),
        image_token_id=ids.image,
        image_seq_length=side * side,
        tie_word_embeddings=shape.text.tied,
    )


def _idefics3(shape: Shape, ids: Ids) -> Any:
    return transformers.Idefics3Config(**_idefics(shape, ids))


def _smolvlm(shape: Shape, ids: Ids) -> Any:
    return transformers.SmolVLMConfig(**_idefics(shape, ids))


def _idefics(shape: Shape, ids: Ids) -> dict[str, Any]:
    return {
        "vision_config": _tower(shape),
        "text_config": _text(shape, ids, LLAMA),
        "image_token_id": ids.image,
        "pad_token_id": ids.pad,
        "tie_word_embeddings": shape.text.tied,
        **shape.more,
    }


_FAMILIES: dict[str, Callable[[Shape, Ids], Any]] = {
    "llava": _llava,
    "llava_next": _llava_next,
    "llava_onevision": _llava_onevision,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "internvl": _internvl,
    "idefics3": _idefics3,
    "smolvlm": _smolvlm,
    "video_llava": _video_llava,
}
