"""Tiny random models of every family beside LLaVA-1.5, and prompts for them. Stock classes, no network."""

from __future__ import annotations

import itertools
from inspect import signature
from typing import Any

import torch
from transformers import (
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
)

from vscan_core.checkpoints.text_half import RANDOM, choose_text_half
from vscan_core.conformance.tiny import IMAGE_ID as IMAGE
from vscan_core.conformance.tiny import QWEN_IDS, QWEN_TOWER, ROPE, next_inputs, padded, qwen_inputs, roughened
from vscan_core.conformance.tiny import TINY_DECODER as DECODER
from vscan_core.conformance.tiny import VIDEO_ID as VIDEO
from vscan_core.conformance.tiny import qwen_video_inputs as video_inputs
from vscan_core.conformance.tiny import tiny_llava_next as llava_next
from vscan_core.conformance.tiny import tiny_qwen as qwen
from vscan_core.trace import View

__all__ = ["IMAGE", "VIDEO", "llava_next", "next_inputs", "padded", "qwen", "qwen_inputs", "video_inputs"]

TEXT = DECODER | {"pad_token_id": 0}
TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": 84,
    "patch_size": 7,
}


def qwen3(attn: str) -> Qwen3VLForConditionalGeneration:
    """Features of two earlier vision blocks are added in the LLM."""
    config = Qwen3VLConfig(
        vision_config={
            **QWEN_TOWER, "patch_size": 14, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 2],
        },
        text_config={**DECODER, "head_dim": 8, "rope_parameters": ROPE},
        **QWEN_IDS,
    )  # fmt: skip
    torch.manual_seed(0)
    return roughened(Qwen3VLForConditionalGeneration._from_config(config, attn_implementation=attn))


ATTENDING = [1, 4]  # the decoder layers of the next model that have softmax attention


def qwen35(attn: str) -> Qwen3_5ForConditionalGeneration:
    """Four of six decoder layers have linear attention; half of each head of the others rotates."""
    kinds = ["full_attention" if layer in ATTENDING else "linear_attention" for layer in range(6)]
    linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
    linear |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8}
    config = Qwen3_5Config(
        vision_config={**QWEN_TOWER, "patch_size": 14, "num_position_embeddings": 64},
        text_config={
            **DECODER, **linear, "layer_types": kinds, "head_dim": 16,
            "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5},
        },
        **QWEN_IDS,
    )  # fmt: skip
    torch.manual_seed(0)
    return roughened(Qwen3_5ForConditionalGeneration._from_config(config, attn_implementation=attn))


GEMMA_KINDS = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]
GEMMA_KINDS += ["full_attention"] * 2
GEMMA_EDGE = {"num_kv_shared_layers": 1, "use_double_wide_mlp": True, "hidden_size_per_layer_input": 8}
GEMMA_LARGE = {
    "use_bidirectional_attention": "vision", "attention_k_eq_v": True, "num_global_key_value_heads": 1,
    "enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 16,
    "hidden_size_per_layer_input": 0,
}  # fmt: skip


def gemma(attn: str, **more: Any) -> Gemma4ForConditionalGeneration:
    """As E2B: each layer gets embeddings of its own, and the last one reuses the keys and values of the one before it.

    Windows of 12 tokens; patches of 4 pixels, 3 x 3 to a token. more: other settings of the decoder.
    """
    settings = {"layer_types": GEMMA_KINDS, **(more or GEMMA_EDGE)}
    config = Gemma4Config(
        vision_config={
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
            "num_key_value_heads": 4, "head_dim": 8, "patch_size": 4, "position_embedding_size": 4096,
            "standardize": "attention_k_eq_v" in settings,
        },
        text_config={
            **TEXT, "sliding_window": 12, **settings, "head_dim": 8, "global_head_dim": 16,
            "num_hidden_layers": len(settings["layer_types"]), "vocab_size_per_layer_input": TEXT["vocab_size"],
            "bos_token_id": 1, "eos_token_id": None,
        },
        audio_config=None, image_token_id=IMAGE, video_token_id=VIDEO, boi_token_id=101, eoi_token_id=102,
        audio_token_id=TEXT["vocab_size"] - 1,
    )  # fmt: skip
    torch.manual_seed(0)
    model = roughened(Gemma4ForConditionalGeneration._from_config(config, attn_implementation=attn))
    with torch.no_grad():
        model.model.vision_tower.patch_embedder.position_embedding_table.normal_(0, 0.3)
    return model


def gemma_large(attn: str) -> Gemma4ForConditionalGeneration:
    """As 26B-A4B: tokens of a picture see each other in layers with windows, experts, keys that are values, too."""
    return gemma(attn, **GEMMA_LARGE)


def gemma_inputs(rows: list[list[tuple[int, int]]], token: int = IMAGE) -> dict[str, Any]:
    """Prompts for it; a picture is its (rows, columns) of tokens. token: the placeholder; that of videos for frames."""
    make = torch.Generator().manual_seed(0)
    ids, sizes = [], [size for row in rows for size in row]
    for number, row in enumerate(rows):
        ids_of_prompt = [1, *torch.randint(2, 90, (2,), generator=make).tolist()]
        for down, across in row:
            ids_of_prompt += [101] + [token] * (down * across) + [102, 7]
        ids.append(ids_of_prompt + torch.randint(2, 90, (3 + number,), generator=make).tolist())
    inputs = padded(ids)
    inputs["mm_token_type_ids"] = (inputs["input_ids"] == token).int()
    if sizes:
        most = 9 * max(down * across for down, across in sizes)
        pixels, places = torch.zeros(len(sizes), most, 48), torch.full((len(sizes), most, 2), -1)
        for number, (down, across) in enumerate(sizes):
            grid = torch.cartesian_prod(torch.arange(3 * down), torch.arange(3 * across)).flip(1)  # x, y; row by row
            places[number, : len(grid)] = grid
            pixels[number, : len(grid)] = torch.rand(len(grid), 48, generator=make)
        inputs |= {"pixel_values": pixels, "image_position_ids": places}
    return inputs


def glm(attn: str) -> Glm4vForConditionalGeneration:
    """Half of each head rotates; the position embedding is stretched to each picture."""
    ids = {name.replace("vision", "image"): value for name, value in QWEN_IDS.items()}
    config = Glm4vConfig(
        vision_config={**QWEN_TOWER, "image_size": 112},
        text_config={**TEXT, "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5, "mrope_section": [0, 1, 1]}},
        **ids,
    )
    torch.manual_seed(0)
    return roughened(Glm4vForConditionalGeneration._from_config(config, attn_implementation=attn))


def internvl(attn: str) -> InternVLForConditionalGeneration:
    """Tiles of 12 x 12 patches, so 6 x 6 tokens; query and key norms as in the larger models."""
    config = InternVLConfig(
        vision_config={**TOWER, "use_qk_norm": True},
        text_config={"model_type": "qwen2", **TEXT},
        image_token_id=IMAGE,
    )
    torch.manual_seed(0)
    model = roughened(InternVLForConditionalGeneration._from_config(config, attn_implementation=attn))
    with torch.no_grad():
        model.model.vision_tower.embeddings.cls_token.normal_()
    return model


def idefics3(attn: str) -> Idefics3ForConditionalGeneration:
    """Tiles of 12 x 12 patches, so 6 x 6 tokens."""
    torch.manual_seed(0)
    config = Idefics3Config(
        vision_config=TOWER, text_config={"model_type": "llama", **TEXT}, image_token_id=IMAGE, scale_factor=2
    )
    return roughened(Idefics3ForConditionalGeneration._from_config(config, attn_implementation=attn))


def smolvlm(attn: str) -> SmolVLMForConditionalGeneration:
    """As Idefics3."""
    torch.manual_seed(0)
    config = SmolVLMConfig(
        vision_config=TOWER, text_config={"model_type": "llama", **TEXT}, image_token_id=IMAGE, scale_factor=2
    )
    return roughened(SmolVLMForConditionalGeneration._from_config(config, attn_implementation=attn))


def video_llava(attn: str) -> VideoLlavaForConditionalGeneration:
    """Pictures of 6 x 6 tokens; frames bring their CLS token along."""
    config = VideoLlavaConfig(
        vision_config={"model_type": "clip_vision_model", **TOWER, "patch_size": 14},
        text_config={"model_type": "llama", **TEXT},
        image_token_index=IMAGE,
        video_token_index=VIDEO,
    )
    torch.manual_seed(0)
    model = VideoLlavaForConditionalGeneration._from_config(config, attn_implementation=attn)
    return roughened(choose_text_half(model, RANDOM))


def onevision(attn: str) -> LlavaOnevisionForConditionalGeneration:
    """Tiles of 6 x 6 tokens."""
    config = LlavaOnevisionConfig(
        vision_config={"model_type": "siglip_vision_model", **TOWER, "patch_size": 14, "vision_use_head": False},
        text_config={"model_type": "qwen2", **TEXT},
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=[[84, 168], [168, 84], [168, 168], [840, 840]],
    )
    torch.manual_seed(0)
    return roughened(LlavaOnevisionForConditionalGeneration._from_config(config, attn_implementation=attn))


MROPE = ("qwen", "glm")  # how the names of families begin whose positions have several axes


def slice_inputs(rows: list[list[tuple[int, int, int]]]) -> dict[str, Any]:
    """GLM prompts with videos: every slice is a run of placeholders of pictures."""
    inputs = video_inputs(rows, apart=True)
    inputs["input_ids"] = inputs["input_ids"].where(inputs["input_ids"] != VIDEO, IMAGE)
    return inputs


def tile_inputs(rows: list[list[int]]) -> dict[str, Any]:
    """InternVL prompts; an image is a tile of 36 tokens, given by its seed."""
    make = torch.Generator().manual_seed(0)
    ids = []
    for number, row in enumerate(rows):
        ids_of_prompt = [1]
        for _ in row:
            ids_of_prompt += torch.randint(2, 90, (2,), generator=make).tolist() + [IMAGE] * 36
        ids.append(ids_of_prompt + torch.randint(2, 90, (3 + number,), generator=make).tolist())
    pixels = [torch.randn(3, 84, 84, generator=torch.Generator().manual_seed(seed)) for row in rows for seed in row]
    return {**padded(ids), "pixel_values": torch.stack(pixels)}


def row_inputs(rows: list[list[int]]) -> dict[str, Any]:
    """The same for Idefics3 and SmolVLM: tiles row by row, with empty tiles where a row has fewer."""
    inputs, seeds = tile_inputs(rows), iter(range(sum(map(len, rows))))
    pixels = torch.zeros(len(rows), max(map(len, rows)), 3, 84, 84)
    for number, row in enumerate(rows):
        for place in range(len(row)):
            pixels[number, place] = inputs["pixel_values"][next(seeds)]
    return {**inputs, "pixel_values": pixels}


def tiles_of(rows: list[list[tuple[int, int]]]) -> list[list[int]]:
    """Pictures that were cut into (rows, cols) tiles -> the seeds of their tiles, those of the whole included."""
    seeds = itertools.count(1)
    return [[next(seeds) for cut in row for _ in range(View(cut=cut).tiles)] for row in rows]


MARK, LINE, WHOLE, FIRST = 70, 71, 72, 73  # what Idefics3's processor writes around tiles; FIRST: row 1, column 1


def tiled_inputs(rows: list[list[tuple[int, int]]], make: Any = tile_inputs) -> dict[str, Any]:
    """The same for pictures in tiles that belong together: prompts as the stock processors write them."""
    inputs: dict[str, Any] = make(tiles_of(rows))
    write = _together if make is tile_inputs else _apart
    ids = [[1] + [word for cut in row for word in (3, 4, *write(*cut))] + [5, 6, 7 + n] for n, row in enumerate(rows)]
    return {**inputs, **padded(ids)}


def _together(down: int, across: int) -> list[int]:
    """InternVL: one run."""
    return [IMAGE] * 36 * View(cut=(down, across)).tiles


def _apart(down: int, across: int) -> list[int]:
    """Idefics3: a run for each tile, tagged with its row and column."""
    ids_of_prompt = []
    for row in range(down if down * across > 1 else 0):
        for col in range(across):
            ids_of_prompt += [MARK, FIRST + 6 * row + col] + [IMAGE] * 36
        ids_of_prompt += [LINE]
    return ids_of_prompt + [LINE] * (len(ids_of_prompt) > 0) + [MARK, WHOLE] + [IMAGE] * 36 + [MARK]


def picture_inputs(rows: list[list[int]]) -> dict[str, Any]:
    """The same for Video-LLaVA, which names its pixels differently up to transformers 5.17."""
    inputs = tile_inputs(rows)
    if "pixel_values" not in signature(VideoLlavaForConditionalGeneration.forward).parameters:
        inputs["pixel_values_images"] = inputs.pop("pixel_values")
    return inputs


def frame_inputs(rows: list[list[tuple[int, int, int]]], tokens: int = 37 * 3) -> dict[str, Any]:
    """Video-LLaVA prompts; a video is the seeds of its three frames, in LLaVA-OneVision of 28 tokens together."""
    pixels = tile_inputs([[seed for video in row for seed in video] for row in rows])["pixel_values"]
    ids = [
        [1] + ([7, 8] + [VIDEO] * tokens) * len(row) + [9 + number, 10, 11][: 2 + number]
        for number, row in enumerate(rows)
    ]
    return {**padded(ids), "pixel_values_videos": pixels.unflatten(0, (-1, 3))}


def onevision_inputs(rows: list[list[tuple[int, int]]]) -> dict[str, Any]:
    """LLaVA-OneVision prompts: a picture alone in its row is cut into tiles, several are one tile each."""
    inputs, ids = next_inputs(rows), []
    lengths = {(84, 168): 36 + 6 * 13, (168, 168): 36 + 12 * 13, (50, 168): 36 + 4 * 13}
    for number, row in enumerate(rows):
        runs = [[3, 4] + [IMAGE] * (lengths[size] if len(row) == 1 else 37) for size in row]
        ids.append([1, *(word for run in runs for word in run), 5, 6, 7 + number][: None if row else 3])
    counts = torch.tensor([len(row) for row in rows])
    return {**inputs, **padded(ids), "batch_num_images": counts}
