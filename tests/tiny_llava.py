"""A tiny random LLaVA-1.5 from the stock classes, for tests of everything that needs a model."""

from __future__ import annotations

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

IMAGE_TOKEN = 99


def tiny_llava(
    attn: str = "sdpa", layers: int = 6, side: int = 84, vocabulary: int = 100, image: int = IMAGE_TOKEN
) -> LlavaForConditionalGeneration:
    """LLaVA-1.5 for pictures of `side` pixels, (side / 14)^2 visual tokens; grouped queries."""
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=5,
            num_attention_heads=4,
            image_size=side,
            patch_size=14,
        ),
        text_config=LlamaConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=vocabulary,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=None,
        ),
        image_token_index=image,
        vision_feature_layer=-2,
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration._from_config(config, dtype=torch.float32, attn_implementation=attn)
    return roughened(model)


def roughened(model):
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
