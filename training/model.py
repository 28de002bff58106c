"""The untrained model and its processor: stock LLaVA parts, small."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from training.clip_names import rename_weights, with_vision_level
from training.vocabulary import CHAT_TEMPLATE, build_tokenizer
from vscan_eval.world.scene import PATCH, PICTURE_SIDE

DIM = 256
VISION_LAYERS = 6
TEXT_LAYERS = 6
PREFIX = 3  # "<s>", " user", ":" come before the visual tokens


def llava_config(vocabulary: int, image_id: int) -> LlavaConfig:
    """About 10 million parameters. The last tower layer feeds the projector: no layer is dead weight."""
    vision = CLIPVisionConfig(
        hidden_size=DIM,
        intermediate_size=4 * DIM,
        num_hidden_layers=VISION_LAYERS,
        num_attention_heads=4,
        image_size=PICTURE_SIDE,
        patch_size=PATCH,
        hidden_act="gelu",
        projection_dim=DIM,
    )
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=DIM,
        intermediate_size=704,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=8,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=image_id,
        projector_hidden_act="gelu",
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=576,
        tie_word_embeddings=True,
    )


def build_model(seed: int = 0) -> LlavaForConditionalGeneration:
    """The whole model, initialised for the recipe: large word embeddings, keys equal to queries, small logits."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    rows = -(-len(tokenizer) // 64) * 64
    config = llava_config(rows, tokenizer.convert_tokens_to_ids("<image>"))
    model = LlavaForConditionalGeneration(config).float()
    language, tower = model.model.language_model, model.model.vision_tower
    with torch.no_grad():
        language.embed_tokens.weight.normal_(0.0, 0.5)
        language.norm.weight.fill_(0.125)  # tied embeddings of std 0.5 would give logits of std 8
        for layer in language.layers:
            layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)
        for layer in tower.encoder.layers:
            layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)
        tower.embeddings.position_embedding.weight.copy_(_sincos(PICTURE_SIDE // PATCH, DIM))
    model.generation_config = GenerationConfig(
        bos_token_id=1, eos_token_id=2, pad_token_id=0, do_sample=False, max_new_tokens=48
    )
    return model


def _sincos(side: int, dim: int) -> torch.Tensor:
    """Row and column waves for every patch, zero for CLS: (1 + side * side, dim), std about 0.35."""
    wavelengths = 1.0 / 100 ** (torch.arange(dim // 4) / (dim // 4))  # (dim / 4,)
    angles = torch.arange(side)[:, None] * wavelengths  # (side, dim / 4)
    waves = torch.cat([angles.sin(), angles.cos()], dim=1) * 0.5  # (side, dim / 2)
    grid = torch.cat([waves.repeat_interleave(side, 0), waves.repeat(side, 1)], dim=1)
    return torch.cat([torch.zeros(1, dim), grid])


def build_processor() -> LlavaProcessor:
    """LLaVA-1.5's picture handling (short side to 336, centre crop) without torchvision."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images = CLIPImageProcessorPil(
        size={"shortest_edge": PICTURE_SIDE}, crop_size={"height": PICTURE_SIDE, "width": PICTURE_SIDE}
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=build_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def export(model: LlavaForConditionalGeneration, folder: Path) -> None:
    """Weights in half precision, in shards below 10 MB, with everything needed to load them, also in stock vLLM."""
    import copy

    copy.deepcopy(model).half().save_pretrained(folder, max_shard_size="9MB")
    rename_weights(folder, with_vision_level)
    build_processor().save_pretrained(folder)
