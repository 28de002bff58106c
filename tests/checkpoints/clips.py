"""Small random CLIPs around the vision tower of a tiny model, as folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from vscan_core.families import family_of

WORDS = (
    "where",
    "is",
    "the",
    "red",
    "cat",
    "and",
    "dog",
    "bus",
    "key",
    "hat",
    "bee",
    "cow",
    "beside",
    "it",
    "?",
    "how",
)


def tokenizer_of_words() -> Any:
    """A token per word, from 1 (start); 3 is the end."""
    vocabulary = {"<pad>": 0, "<s>": 1, "<unk>": 2, "</s>": 3} | {word: 4 + i for i, word in enumerate(WORDS)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.normalizer, core.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def clip_of(model: Any, folder: Path, seed: int = 0, **vision: Any) -> tuple[transformers.CLIPModel, Any]:
    """A CLIP with the model's own tower, and its tokenizer, saved in `folder`; vision: changes to its configuration."""
    tower = family_of(model).vision_tower(model)
    text = {
        "vocab_size": 40,
        "hidden_size": 24,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "max_position_embeddings": 20,
        "bos_token_id": 1,
        "eos_token_id": 3,
        "pad_token_id": 0,
    }
    config = transformers.CLIPConfig(
        text_config=text, vision_config={**tower.config.to_dict(), **vision}, projection_dim=16
    )
    torch.manual_seed(seed)
    clip = transformers.CLIPModel(config).eval()
    if not vision:
        clip.vision_model.load_state_dict(tower.state_dict(), strict=False)
    with torch.no_grad():
        for weight in (clip.visual_projection.weight, clip.text_projection.weight):
            weight.normal_(0, 0.3)
        clip.text_model.embeddings.token_embedding.weight.normal_(0, 1.0)
    clip.save_pretrained(folder)
    tokenizer = tokenizer_of_words()
    tokenizer.save_pretrained(folder)
    return clip, tokenizer
