"""A tiny random LLaVA with the inputs of the embedded model, and a task of plain pictures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PIL import Image
from transformers import AutoProcessor

import vscan_core as vc
from tests.tiny_llava import tiny_llava
from vscan_core.families import family_of
from vscan_eval.task import Item, Task

COLOURS = ("teal", "red", "gold")


@pytest.fixture(scope="session")
def lvlm() -> vc.LVLM:
    """576 visual tokens, and the processor of the embedded model."""
    processor = AutoProcessor.from_pretrained("assets/mini")
    model = tiny_llava(side=336, vocabulary=len(processor.tokenizer), image=4)
    model.generation_config.eos_token_id = 2
    return vc.LVLM(model=model, processor=processor, family=family_of(model), name="tiny")


class Colours(Task):
    """Three pictures with four questions each; "no" is always right."""

    name = "colours"
    max_new_tokens = 5

    def items(self) -> Iterator[Item]:
        for colour in COLOURS:
            for number, question in enumerate(("What is it?", "Is there a big red cat at the left?", "Why?", "A dog?")):
                kind = "short" if len(question) < 8 else "long"
                yield Item(f"{colour}-{number}", colour, lambda c=colour: picture(c), question, ("no",), kind)


def picture(colour: str) -> Image.Image:
    """A plain background with a bar across it."""
    image = Image.new("RGB", (336, 336), colour)
    image.paste("white", (30, 100, 300, 140))
    return image


@pytest.fixture
def task() -> Task:
    """Twelve questions."""
    return Colours()
