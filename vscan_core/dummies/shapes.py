"""Sizes of the models on offer, as their published configurations have them, and of small ones for a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Tower:
    """A vision encoder: side of its pictures (tiles) and patches in pixels, and its transformer."""

    image: int
    patch: int
    width: int
    depth: int
    heads: int
    mlp: int


@dataclass(frozen=True)
class Decoder:
    """A language model."""

    width: int
    depth: int
    heads: int
    kv_heads: int
    mlp: int
    vocabulary: int
    tied: bool = False  # one matrix for embeddings and LM head
    head_dim: int | None = None  # None = width / heads


@dataclass(frozen=True)
class Shape:
    """Everything about a model that takes time or memory."""

    family: str  # config.model_type
    tower: Tower
    text: Decoder
    more: Mapping[str, Any] = field(default_factory=dict)  # what only this family has, see configs.py
    tiles: int = 4  # on a picture's longer side, where the processor takes a limit (Idefics3, SmolVLM)


CLIP = Tower(336, 14, 1024, 24, 16, 4096)
CLIP_224 = Tower(224, 14, 1024, 24, 16, 4096)
SIGLIP_384 = Tower(384, 14, 1152, 26, 16, 4304)  # LLaVA-OneVision leaves the last of 27 layers out
SIGLIP_BASE = Tower(512, 16, 768, 12, 12, 3072)
INTERN_VIT = Tower(448, 14, 1024, 24, 16, 4096)
QWEN25_VIT = Tower(0, 14, 1280, 32, 16, 3420)  # any size of picture
QWEN3_VIT = Tower(0, 16, 1024, 24, 16, 4096)
QWEN3_VIT_LARGE = Tower(0, 16, 1152, 27, 16, 4304)

VICUNA_7B = Decoder(4096, 32, 32, 32, 11008, 32064)
VICUNA_13B = Decoder(5120, 40, 40, 40, 13824, 32064)
MISTRAL_7B = Decoder(4096, 32, 32, 8, 14336, 32064)
LLAMA3_8B = Decoder(4096, 32, 32, 8, 14336, 128259)


def _qwen2(width: int, depth: int, heads: int, kv_heads: int, mlp: int, vocabulary: int, tied: bool) -> Decoder:
    return Decoder(width, depth, heads, kv_heads, mlp, vocabulary, tied)


def _pinpoints(side: int, most: int) -> list[list[int]]:
    """Every grid of up to most x most tiles."""
    return [[side * rows, side * cols] for rows in range(1, most + 1) for cols in range(1, most + 1)]


_NEXT_GRIDS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
_QWEN25 = {"fullatt_block_indexes": [7, 15, 23, 31]}
_QWEN3 = {"deepstack_visual_indexes": [5, 11, 17]}
_QWEN3_LARGE = {"deepstack_visual_indexes": [8, 16, 24]}
_ONEVISION = {"image_grid_pinpoints": _pinpoints(384, 6)}
_VIT_32B = Tower(0, 14, 1280, 32, 16, 3456)

REAL: dict[str, Shape] = {
    "llava-1.5-7b": Shape("llava", CLIP, VICUNA_7B),
    "llava-1.5-13b": Shape("llava", CLIP, VICUNA_13B),
    "llava-next-vicuna-7b": Shape("llava_next", CLIP, VICUNA_7B, {"image_grid_pinpoints": _NEXT_GRIDS}),
    "llava-next-mistral-7b": Shape("llava_next", CLIP, MISTRAL_7B, {"image_grid_pinpoints": _NEXT_GRIDS}),
    "llava-next-vicuna-13b": Shape("llava_next", CLIP, VICUNA_13B, {"image_grid_pinpoints": _NEXT_GRIDS}),
    "qwen2.5-vl-3b": Shape("qwen2_5_vl", QWEN25_VIT, _qwen2(2048, 36, 16, 2, 11008, 151936, True), _QWEN25),
    "qwen2.5-vl-7b": Shape("qwen2_5_vl", QWEN25_VIT, _qwen2(3584, 28, 28, 4, 18944, 152064, False), _QWEN25),
    "qwen2.5-vl-32b": Shape("qwen2_5_vl", _VIT_32B, _qwen2(5120, 64, 40, 8, 27648, 152064, False), _QWEN25),
    "video-llava-7b": Shape("video_llava", CLIP_224, VICUNA_7B),
    "qwen3-vl-2b": Shape("qwen3_vl", QWEN3_VIT, Decoder(2048, 28, 16, 8, 6144, 151936, True, 128), _QWEN3),
    "qwen3-vl-4b": Shape("qwen3_vl", QWEN3_VIT, Decoder(2560, 36, 32, 8, 9728, 151936, True, 128), _QWEN3),
    "qwen3-vl-8b": Shape(
        "qwen3_vl", QWEN3_VIT_LARGE, Decoder(4096, 36, 32, 8, 12288, 151936, False, 128), _QWEN3_LARGE
    ),
    "internvl3-1b": Shape("internvl", INTERN_VIT, _qwen2(896, 24, 14, 2, 4864, 151674, False)),
    "internvl3-2b": Shape("internvl", INTERN_VIT, _qwen2(1536, 28, 12, 2, 8960, 151674, False)),
    "internvl3-8b": Shape("internvl", INTERN_VIT, _qwen2(3584, 28, 28, 4, 18944, 151674, False)),
    "idefics3-8b": Shape("idefics3", Tower(364, 14, 1152, 27, 16, 4304), LLAMA3_8B, {"scale_factor": 2}),
    "smolvlm2-0.5b": Shape("smolvlm", SIGLIP_BASE, Decoder(960, 32, 15, 5, 2560, 49280), {"scale_factor": 4}),
    "smolvlm2-2.2b": Shape(
        "smolvlm", Tower(384, 14, 1152, 27, 16, 4304), Decoder(2048, 24, 32, 32, 8192, 49280), {"scale_factor": 3}
    ),
    "llava-onevision-0.5b": Shape(
        "llava_onevision", SIGLIP_384, _qwen2(896, 24, 14, 2, 4864, 152000, True), _ONEVISION
    ),
    "llava-onevision-7b": Shape(
        "llava_onevision", SIGLIP_384, _qwen2(3584, 28, 28, 4, 18944, 152128, False), _ONEVISION
    ),
}

_TOWER, _TEXT = (384, 8, 6, 1536), Decoder(512, 12, 8, 4, 1408, 8192)
_NARROW = (192, 8, 6, 768)  # where pictures are cut into many patches

SMALL: dict[str, Shape] = {  # as many visual tokens per tile as the real ones
    "llava-small": Shape("llava", Tower(336, 14, 512, 12, 8, 2048), Decoder(768, 12, 12, 12, 2048, 32064)),
    "llava-next-small": Shape("llava_next", Tower(336, 14, *_TOWER), _TEXT, {"image_grid_pinpoints": _NEXT_GRIDS}),
    "qwen2.5-vl-small": Shape("qwen2_5_vl", Tower(0, 14, *_TOWER), _TEXT, {"fullatt_block_indexes": [1, 3, 5, 7]}),
    "video-llava-small": Shape("video_llava", Tower(224, 14, *_TOWER), _TEXT),
    "qwen3-vl-small": Shape("qwen3_vl", Tower(0, 16, *_TOWER), _TEXT, {"deepstack_visual_indexes": [1, 3, 5]}),
    "internvl3-small": Shape("internvl", Tower(448, 14, *_NARROW), _TEXT),
    "idefics3-small": Shape("idefics3", Tower(364, 14, *_NARROW), _TEXT, {"scale_factor": 2}, 2),
    "smolvlm2-small": Shape("smolvlm", Tower(512, 16, *_NARROW), _TEXT, {"scale_factor": 4}, 2),
    "llava-onevision-small": Shape(
        "llava_onevision", Tower(384, 14, *_TOWER), _TEXT, {"image_grid_pinpoints": _pinpoints(384, 2)}
    ),
}

SHAPES = REAL | SMALL
