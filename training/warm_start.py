"""Start from an older model whose world had fewer words: reuse every weight that still fits."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from training.packing import tokenizer


def load_matching_weights(model: LlavaForConditionalGeneration, folder: Path) -> None:
    """Copy the weights of the model in `folder`; words are matched by their text, new words stay random."""
    older = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    known = {text: number for text, number in AutoTokenizer.from_pretrained(folder).get_vocab().items()}
    embeddings = model.model.language_model.embed_tokens.weight.detach().clone()
    table = older.model.language_model.embed_tokens.weight.detach()
    for text, number in tokenizer().get_vocab().items():
        if text in known:
            embeddings[number] = table[known[text]]
    taken = {name: value for name, value in older.state_dict().items() if value.shape == model.state_dict()[name].shape}
    model.load_state_dict(taken, strict=False)
    with torch.no_grad():
        model.model.language_model.embed_tokens.weight.copy_(embeddings)
