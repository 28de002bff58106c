"""LVLM: a loaded model with its processor, and the way from a picture and a question to its inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vscan_core.domain import Domain, is_foreign
from vscan_core.errors import InputError
from vscan_core.families import Family
from vscan_core.look import Encoder, Look
from vscan_core.reducers import Reducer
from vscan_core.selection import Anatomy, Needs, Signals

MAX_QUESTION_CHARACTERS = 1000
TEXT = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")  # what a processor makes of words


@dataclass(frozen=True, eq=False)
class LVLM:
    """A vision-language model on its device. Made by `load_model`."""

    model: Any  # a stock transformers model
    processor: Any  # its stock processor
    family: Family
    name: str
    warmed: set[Any] = field(default_factory=set, repr=False)  # shapes that have run once on this device

    @cached_property
    def anatomy(self) -> Anatomy:
        """Plain numbers about the model, for reducers."""
        return self.family.anatomy(self.model)

    @cached_property
    def device(self) -> torch.device:
        """Where inputs go."""
        device: torch.device = self.model.device
        return device

    @cached_property
    def domain(self) -> Domain | None:
        """What the pictures of the model's world look like, if the model's folder says so."""
        folder = Path(self.model.config._name_or_path)
        return Domain.load(folder) if folder.is_dir() else None

    def inputs(self, image: Image.Image, question: str) -> Any:
        """Picture and question -> keyword arguments of `generate` on the model's device, batch of one.

        Raises InputError for an empty or over-long question and for one with control tokens such as <image> in it, and
        for a picture that the model's processor does not take.
        """
        words = check_question(question, self.processor)
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": words}]}
        prompt = self.processor.apply_chat_template([turn], add_generation_prompt=True)
        picture = _rgb(image)
        try:
            batch = self.processor(images=picture, text=prompt, return_tensors="pt")
        except ValueError as error:  # of Qwen, for a picture that is more than 200 times longer than wide
            size = f"{picture.width} x {picture.height} pixels"
            reason = str(error).splitlines()[0].rstrip(".")
            raise InputError(
                f"{self.family.title} takes no picture of {size}; choose another one ({reason})."
            ) from error
        return self._placed(batch, picture)

    def look(self, image: Image.Image, needs: Needs | Reducer) -> Look:
        """Run only the vision side and record what `needs` asks for (a reducer: what it needs).

        `look.trace(reducer)` is then the picture after cut 0, for as many retentions and settings as one likes.
        """
        wanted = needs.needs(self.anatomy) if isinstance(needs, Reducer) else needs
        batch = {name: part for name, part in self.inputs(image, "?").items() if name not in TEXT}
        return Encoder(self.model, self.family, self.anatomy, batch).look(wanted)

    def signals(self, image: Image.Image, needs: Needs | Reducer) -> Signals:
        """As `look`, only the signals; for a picture that the model sees as one tile."""
        return self.look(image, needs).signals

    def boxes(self, image: Image.Image) -> Tensor:
        """(tokens, 4) x0, y0, x1, y1 of every visual token in the picture, in its own pixels; NaN for newlines."""
        return self.look(image, Needs()).boxes

    def is_foreign(self, features: Tensor | None) -> bool:
        """Whether vision features (tokens, dim) come from a picture unlike those the model was trained on."""
        return self.domain is not None and features is not None and is_foreign(features.float().cpu(), self.domain)

    def _placed(self, batch: Any, image: Image.Image) -> Any:
        batch = batch.to(self.device, dtype=self.model.dtype)
        # the picture's geometry travels with its pixels, so that a trace can tell boxes in the original
        batch["pixel_values"].views = [self.family.view(self.processor, *image.size)]
        return batch


def check_question(question: str, processor: Any) -> str:
    """The question, stripped; InputError if it is empty, too long or holds control tokens."""
    words = question.strip()
    if not words:
        raise InputError("The question is empty: type what you want to know about the picture.")
    if len(words) > MAX_QUESTION_CHARACTERS:
        raise InputError(
            f"The question has {len(words)} characters; at most {MAX_QUESTION_CHARACTERS} are possible, so shorten it."
        )
    control = {*processor.tokenizer.all_special_tokens, getattr(processor, "image_token", "<image>"), "<image>"}
    found = sorted(token for token in control if token and token in words)
    if found:
        raise InputError(f"The question must not contain the control token {found[0]}: ask in plain words.")
    return words


def _rgb(image: Image.Image) -> Image.Image:
    if not isinstance(image, Image.Image):
        raise InputError("There is no picture: choose one first.")
    return image if image.mode == "RGB" else image.convert("RGB")
