"""A tiny random LLaVA that sees what the embedded model sees, and a task of plain pictures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import vscan_core as vc
from vscan_core.families import family_of
from vscan_eval.task import Item, Task

COLOURS = ("teal", "red", "gold")


@pytest.fixture(scope="session")
def lvlm() -> vc.LVLM:
    """576 visual tokens, 6 + 6 narrow layers, weights large enough that questions and pictures matter."""
    processor = AutoProcessor.from_pretrained("assets/mini")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=6,
            num_attention_heads=4,
            image_size=336,
            patch_size=14,
        ),
        text_config=LlamaConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=6,
            num_attention_heads=4,
            vocab_size=len(processor.tokenizer),
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
        image_token_index=4,
        vision_feature_layer=-2,
    )
    torch.manual_seed(1)
    model = LlavaForConditionalGeneration._from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0, 0.5 if name.endswith(("q_proj.weight", "k_proj.weight")) else 0.25)
    model.generation_config.eos_token_id = 2
    return vc.LVLM(model=model, processor=processor, family=family_of(model), name="tiny")


class Colours(Task):
    """Three pictures with four questions each; "no" is always right."""

    name = "colours"
    max_new_tokens = 5

    def items(self) -> Iterator[Item]:
        for colour in COLOURS:
            for number, words in enumerate(("What is it?", "Is there a big red cat at the left?", "Why?", "A dog?")):
                kind = "short" if len(words) < 8 else "long"
                yield Item(f"{colour}-{number}", colour, lambda c=colour: picture(c), words, ("no",), kind)


def picture(colour: str) -> Image.Image:
    """A plain ground with a line across."""
    image = Image.new("RGB", (336, 336), colour)
    image.paste("white", (30, 100, 300, 140))
    return image


@pytest.fixture
def task() -> Task:
    """Twelve questions."""
    return Colours()
