"""Questions about pictures in, replies out; every picture is encoded once for all questions and conditions.

Three kinds of `sharing`; the first that fits is used:
- "prefill": the method never reads the question, so the picture and the words that all prompts have in common run once,
  and every question continues a copy of their KV cache;
- "picture": the method reads the question inside the LLM, so one projected picture serves a batch of prompts;
- "prompt": an ordinary padded batch, one picture per prompt; for models that pack their pictures, and for methods that
  choose what stays by the question before the LLM.
A method that changes the vision encoder runs it for itself.
The condition "none" asks the same prompts with the visual tokens left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import LogitsProcessorList

from vscan_core.attach import reduced
from vscan_core.engine.second_reading import Margins, answer_length, stop_ids
from vscan_core.errors import InputError
from vscan_core.lvlm import LVLM
from vscan_core.measure import memory_guard
from vscan_core.picture_encoder import PictureEncoder, reduced_with
from vscan_core.prepared import PreparedInputs, padded_rows
from vscan_core.questions import History
from vscan_core.reducers import REDUCERS, Reducer
from vscan_core.trace import Trace
from vscan_core.versions import cache_out, with_cache

DENSE, BLIND = "baseline", "none"  # their names on the command line


@dataclass(frozen=True)
class Condition:
    """What is measured: a reducer, the model as it is ("baseline"), or the model without visual tokens ("none")."""

    name: str
    reducer: Reducer | None = None

    @classmethod
    def named(cls, name: str, retention: float, **settings: Any) -> Condition:
        """The condition of this name on the command line; `settings`: fields of the method.

        Raises InputError if there is no such method, or if it does not have these settings.
        """
        if name in (DENSE, BLIND):
            if settings:
                raise InputError(f"{name} has no settings, but was given {', '.join(settings)}")
            return cls(name)
        method = REDUCERS.named(name, f"{DENSE}, {BLIND}, ")
        try:
            return cls(name, method(retention, **settings))
        except TypeError as error:
            raise InputError(f"{name} does not have these settings: {error}") from None

    @property
    def settings(self) -> str:
        """Every setting, as text."""
        return self.name if self.reducer is None else repr(self.reducer)


@dataclass(frozen=True)
class Prompt:
    """One question about one picture."""

    picture: Image.Image
    question: str
    history: History = ()  # earlier turns about it

    def text(self, lvlm: LVLM) -> str:
        """As the model's chat template writes it."""
        return lvlm.chat(self.question, history=self.history)


@dataclass(frozen=True)
class Reply:
    """The model's answer to one prompt."""

    text: str
    visual_tokens: float  # mean over decoder layers and over the pictures of the batch, as recorded
    margin: float  # by how much the best next token led the second, in log-probability: the least of all steps


def sharing(lvlm: LVLM, condition: Condition) -> str:
    """How much work prompts about one picture can share: "prefill", "picture" or "prompt"."""
    reducer = condition.reducer
    cuts = () if reducer is None else reducer.cut_layers(lvlm.anatomy)
    joint = bool(cuts) and reducer is not None and reducer.needs(lvlm.anatomy).joint
    if condition.name == BLIND or joint or not lvlm.family.one_row_per_picture:
        return "prompt"
    return "picture" if any(cuts) else "prefill"


class PromptBatch:
    """Prompts that are asked together, under one condition after another: prepared once, their pictures encoded once.

    They share more work (`sharing`) if all show the same picture object. encoder: knows the methods that will follow;
    None: every condition runs the vision encoder by itself.
    """

    def __init__(self, lvlm: LVLM, prompts: Sequence[Prompt], encoder: PictureEncoder | None = None) -> None:
        self.lvlm, self.prompts, self.encoder = lvlm, prompts, encoder
        same = len(prompts) > 1 and all(prompt.picture is prompts[0].picture for prompt in prompts)
        self._one_picture = same and lvlm.family.one_row_per_picture

    @torch.inference_mode()
    def replies(self, condition: Condition, max_new_tokens: int) -> list[Reply]:
        """Greedy replies, in the order of the prompts; those of which the method is unsure come from a second reading.

        Raises InputError if the method refuses this model or picture.
        """
        below = None if condition.reducer is None else condition.reducer.unsure_below
        if condition.reducer is None or below is None:
            return self._read(condition, max_new_tokens)
        found = self._read(replace(condition, reducer=condition.reducer.first_reading), max_new_tokens)
        if unsure := [place for place, reply in enumerate(found) if reply.margin < below]:
            again = PromptBatch(self.lvlm, [self.prompts[place] for place in unsure], self.encoder)
            for place, reply in zip(unsure, again._read(Condition(DENSE), max_new_tokens), strict=True):
                found[place] = replace(reply, visual_tokens=found[place].visual_tokens + reply.visual_tokens)
        return found

    def _read(self, condition: Condition, max_new_tokens: int) -> list[Reply]:
        lvlm, reducer, count = self.lvlm, condition.reducer, len(self.prompts)
        if condition.name == BLIND:
            with reduced(lvlm.model, None) as trace:
                return _replies(lvlm, self._without_pictures(), trace, max_new_tokens)
        shared = sharing(lvlm, condition) if self._one_picture else "prompt"
        inputs, columns = (self._rows, 0) if shared == "prompt" else self._prepared
        shown = self.prompts if shared == "prompt" else self.prompts[:1]
        with memory_guard(lvlm.device):
            encoder = self.encoder if self.encoder is not None and self.encoder.serves(reducer) else None
            encoding = None if encoder is None else encoder.encode([prompt.picture for prompt in shown])
            with reduced_with(lvlm, reducer, encoding) as trace:
                if shared == "prompt":
                    return _replies(lvlm, inputs, trace, max_new_tokens)
                if shared == "picture" or not columns:
                    with _repeated(lvlm, count):
                        return _replies(lvlm, inputs, trace, max_new_tokens)
                text = {name: value for name, value in inputs.items() if name != "pixel_values"}
                beginning = inputs["input_ids"][:1, :columns]
                out = lvlm.model(input_ids=beginning, pixel_values=inputs["pixel_values"], logits_to_keep=1)
                cache = cache_out(out)
                cache.batch_repeat_interleave(count)
                return _replies(lvlm, with_cache(text, cache), trace, max_new_tokens)

    @cached_property
    def _prepared(self) -> tuple[Any, int]:
        """Inputs, and how many columns all rows have in common: with one row or one picture for all prompts."""
        if not self._one_picture:
            return self._rows, 0
        return self.lvlm.prepare_shared(self.prompts[0].picture, [one.text(self.lvlm) for one in self.prompts])

    @cached_property
    def _rows(self) -> PreparedInputs:
        """One row with its own picture for each prompt."""
        return _inputs(self.lvlm, self.prompts)

    def _without_pictures(self) -> dict[str, Tensor]:
        """The prompts without their visual tokens and without the pictures themselves."""
        inputs, _ = self._prepared
        visual = set(self.lvlm.family.visual_token_ids(self.lvlm.model))
        pairs = zip(inputs["input_ids"], inputs["attention_mask"].bool(), strict=True)
        rows = [[token for token in ids[real].tolist() if token not in visual] for ids, real in pairs]
        return padded_rows([[]] * len(rows), rows, self.lvlm.processor.tokenizer.pad_token_id, self.lvlm.device)


def _inputs(lvlm: LVLM, prompts: Sequence[Prompt]) -> PreparedInputs:
    """A left-padded batch on the model's device."""
    questions = [prompt.question for prompt in prompts]
    return lvlm.prepare([prompt.picture for prompt in prompts], [prompt.text(lvlm) for prompt in prompts], questions)


def _replies(lvlm: LVLM, inputs: Any, trace: Trace, max_new_tokens: int) -> list[Reply]:
    margins = Margins()
    more = {"do_sample": False, "logits_processor": LogitsProcessorList([margins])}
    made = lvlm.model.generate(**inputs, **more, max_new_tokens=max_new_tokens)
    tails, stops = made[:, inputs["input_ids"].shape[1] :], stop_ids(lvlm.model)
    least = margins.least([answer_length(row, stops) for row in tails.tolist()])
    counts = trace.visual_tokens_per_layer
    mean = sum(counts) / len(counts) / max(1, len(trace.images)) if trace.images else 0.0
    texts = lvlm.processor.batch_decode(tails, skip_special_tokens=True)
    return [Reply(text.strip(), mean, sure) for text, sure in zip(texts, least, strict=True)]


@contextmanager
def _repeated(lvlm: LVLM, times: int) -> Iterator[None]:
    """The projector's output for one picture serves `times` rows of the batch, marks included.

    Enter it inside `reduced`, whose own hooks then run first; to `reduced` the rows look like beam search's copies.
    """
    handle = lvlm.family.projector(lvlm.model).register_forward_hook(
        lambda module, args, out: out.repeat_interleave(times, dim=0)
    )
    try:
        yield
    finally:
        handle.remove()
