"""The saved model through transformers alone, without any code of this project."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration


def load(folder: str | Path) -> tuple[LlavaForConditionalGeneration, AutoProcessor]:
    """The model in float32 and its processor."""
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoProcessor.from_pretrained(folder)


@torch.inference_mode()
def reply(
    model: LlavaForConditionalGeneration, processor: AutoProcessor, pictures: list[Image.Image], texts: list[str]
) -> list[str]:
    """Greedy answers to one question per picture."""
    chats = [
        [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": text}]}]
        for picture, text in zip(pictures, texts, strict=True)
    ]
    inputs = processor.apply_chat_template(
        chats,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
    )
    made = model.generate(**inputs, do_sample=False, max_new_tokens=32)
    tails = made[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in processor.batch_decode(tails, skip_special_tokens=True)]
