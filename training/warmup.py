"""Start from an older mini whose world had fewer words: take over everything that still fits."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from training.packing import tokenizer


def take_over(model: LlavaForConditionalGeneration, folder: Path) -> None:
    """Copy an older model's weights into a new one; words are matched by their text, new words stay random."""
    older = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    known = {text: number for text, number in AutoTokenizer.from_pretrained(folder).get_vocab().items()}
    words = model.model.language_model.embed_tokens.weight.detach().clone()
    table = older.model.language_model.embed_tokens.weight.detach()
    for text, number in tokenizer().get_vocab().items():
        if text in known:
            words[number] = table[known[text]]
    taken = {name: value for name, value in older.state_dict().items() if value.shape == model.state_dict()[name].shape}
    model.load_state_dict(taken, strict=False)
    with torch.no_grad():
        model.model.language_model.embed_tokens.weight.copy_(words)
