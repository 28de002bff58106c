"""Tiny random models of stock classes, and prompts for them: with CLS, in tiles, without CLS, and a video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from vscan_core.checkpoints.text_half import RANDOM, choose_text_half

IMAGE_ID, VIDEO_ID = 99, 100  # placeholders
TINY_DECODER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 110,
}
TINY_CLIP = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "image_size": 84,
    "patch_size": 14,
}
QWEN_TOWER = {"depth": 4, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 32}
QWEN_IDS = {
    "image_token_id": IMAGE_ID,
    "video_token_id": VIDEO_ID,
    "vision_start_token_id": 101,
    "vision_end_token_id": 102,
}
ROPE = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}


def roughened(model: Any) -> Any:
    """Weights large enough that attention is far from uniform; logits of order one."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                strong = name.endswith(("q_proj.weight", "k_proj.weight", "qkv.weight"))
                weight.normal_(0, 0.4 if strong else 0.1)
        model.lm_head.weight.mul_(0.3)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model.eval()


def tiny_llava(
    attn: str = "sdpa", layers: int = 6, side: int = 84, vocabulary: int = 100, image: int = IMAGE_ID
) -> LlavaForConditionalGeneration:
    """LLaVA-1.5 for pictures of `side` pixels, (side / 14)^2 visual tokens; grouped queries."""
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**TINY_CLIP | {"image_size": side}),
        text_config=LlamaConfig(
            **TINY_DECODER | {"num_hidden_layers": layers, "vocab_size": vocabulary},
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=None,
        ),
        image_token_index=image,
        vision_feature_layer=-2,
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration._from_config(config, dtype=torch.float32, attn_implementation=attn)
    return roughened(choose_text_half(model, RANDOM))


def tiny_llava_next(attn: str = "sdpa") -> LlavaNextForConditionalGeneration:
    """LLaVA-NeXT: tiles of 6 x 6 tokens."""
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**TINY_CLIP),
        text_config=LlamaConfig(**TINY_DECODER | {"vocab_size": 100}),
        image_token_index=IMAGE_ID,
        image_grid_pinpoints=[[84, 168], [168, 84], [168, 168]],
    )
    torch.manual_seed(0)
    model = LlavaNextForConditionalGeneration._from_config(config, attn_implementation=attn)
    return roughened(choose_text_half(model, RANDOM))


def tiny_qwen(attn: str = "sdpa") -> Qwen2_5_VLForConditionalGeneration:
    """Qwen2.5-VL: no CLS token; two blocks with windows, two without."""
    config = Qwen2_5_VLConfig(
        vision_config={**QWEN_TOWER, "fullatt_block_indexes": [1, 3], "window_size": 112},
        text_config={**TINY_DECODER, "rope_parameters": ROPE},
        **QWEN_IDS,
    )
    torch.manual_seed(0)
    return roughened(Qwen2_5_VLForConditionalGeneration._from_config(config, attn_implementation=attn))


def padded(rows: list[list[int]]) -> dict[str, Any]:
    """Left-padded ids and mask."""
    longest = max(map(len, rows))
    return {
        "input_ids": torch.tensor([[0] * (longest - len(row)) + row for row in rows]),
        "attention_mask": torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows]),
    }


def _words(count: int, make: torch.Generator) -> list[int]:
    return torch.randint(2, 90, (count,), generator=make).tolist()


def llava_inputs(images_per_row: list[int], seed: int = 0) -> dict[str, Tensor]:
    """LLaVA prompts with so many pictures of 36 tokens in each row, and texts of different lengths."""
    make = torch.Generator().manual_seed(seed)
    rows = []
    for row, images in enumerate(images_per_row):
        ids = [1]
        for _ in range(images):
            ids += _words(2 + row, make) + [IMAGE_ID] * 36
        rows.append(ids + _words(4 + 3 * row, make))
    inputs = padded(rows)
    if total := sum(images_per_row):
        inputs["pixel_values"] = torch.randn(total, 3, 84, 84, generator=make)
    return inputs


def next_inputs(rows: list[list[tuple[int, int]]]) -> dict[str, Any]:
    """LLaVA-NeXT prompts; an image is its (height, width), which decides on tiles and unpadding."""
    make = torch.Generator().manual_seed(0)
    lengths = {(84, 168): 36 + 6 * 13, (168, 168): 36 + 12 * 13, (50, 168): 36 + 4 * 13, (84, 84): 36 + 12 * 13}
    ids, sizes = [], [size for row in rows for size in row]
    for number, row in enumerate(rows):
        ids_of_prompt = [1]
        for size in row:
            ids_of_prompt += _words(2, make) + [IMAGE_ID] * lengths[size]
        ids.append(ids_of_prompt + _words(3 + number, make))
    inputs = padded(ids)
    if sizes:
        inputs["pixel_values"] = torch.randn(len(sizes), 5, 3, 84, 84, generator=make)
        inputs["image_sizes"] = torch.tensor(sizes)
    return inputs


def qwen_inputs(rows: list[list[tuple[int, int]]]) -> dict[str, Any]:
    """Qwen prompts; an image is its (rows, columns) of patches."""
    make = torch.Generator().manual_seed(0)
    ids, sizes = [], [size for row in rows for size in row]
    for number, row in enumerate(rows):
        ids_of_prompt = _words(2, make)
        for height, width in row:
            ids_of_prompt += [101] + [IMAGE_ID] * (height * width // 4) + [102]
        ids.append(ids_of_prompt + _words(3 + number, make))
    inputs = padded(ids)
    inputs["mm_token_type_ids"] = (inputs["input_ids"] == IMAGE_ID).int()
    if sizes:
        patches = sum(height * width for height, width in sizes)
        inputs["pixel_values"] = torch.randn(patches, 1176, generator=make)
        inputs["image_grid_thw"] = torch.tensor([[1, height, width] for height, width in sizes])
    return inputs


def qwen_video_inputs(rows: list[list[tuple[int, int, int]]], apart: bool = False) -> dict[str, Any]:
    """Qwen prompts; a video is its (slices, rows, columns) of patches. apart: text between slices (Qwen3-VL)."""
    make = torch.Generator().manual_seed(0)
    ids, sizes = [], [size for row in rows for size in row]
    for number, row in enumerate(rows):
        ids_of_prompt = _words(2, make)
        for times, height, width in row:
            runs, each = (times, 1) if apart else (1, times)
            for _ in range(runs):
                ids_of_prompt += [5, 101] + [VIDEO_ID] * (each * height * width // 4) + [102]
        ids.append(ids_of_prompt + _words(3 + number, make))
    inputs = padded(ids)
    inputs["mm_token_type_ids"] = (inputs["input_ids"] == VIDEO_ID).int() * 2
    patches = sum(times * height * width for times, height, width in sizes)
    inputs["pixel_values_videos"] = torch.randn(patches, 1176, generator=make)
    inputs["video_grid_thw"] = torch.tensor(sizes)
    return inputs


@dataclass(frozen=True)
class TinyModel:
    """A model and prompts for it."""

    name: str
    make: Callable[[], Any]
    inputs: Callable[[list[Any]], dict[str, Any]]  # prompts, each what it shows -> the model's arguments
    prompt: Any  # one that shows a single picture or video
    placeholder: int = IMAGE_ID

    @cached_property
    def model(self) -> Any:
        """Made once."""
        return self.make()

    @cached_property
    @torch.no_grad()
    def unreduced(self) -> Tensor:
        """(1, length, vocabulary): its logits for `prompt`."""
        logits: Tensor = self.model(**self.inputs([self.prompt])).logits
        return logits


TINY_MODELS = (
    TinyModel("llava", tiny_llava, llava_inputs, 1),
    TinyModel("llava_next", tiny_llava_next, next_inputs, [(84, 168)]),
    TinyModel("qwen2_5_vl", tiny_qwen, qwen_inputs, [(12, 16)]),
    TinyModel("qwen2_5_vl video", tiny_qwen, qwen_video_inputs, [(3, 12, 8)], VIDEO_ID),
)
