"""Questions about one picture in, replies out; the picture is encoded once wherever that changes nothing.

Three kinds of `sharing`; the first that fits is used:
- "prefill": the method never reads the question, so the picture and the words that all prompts have in common run once,
  and every question continues a copy of their KV cache;
- "picture": the method reads the question inside the LLM, so one run of the vision side serves a batch of prompts;
- "prompt": an ordinary padded batch, one picture per prompt; for models that pack their pictures.
The condition "none" asks the same prompts with the visual tokens left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from vscan_core.attach import reduced
from vscan_core.errors import InputError
from vscan_core.lvlm import LVLM
from vscan_core.measure import memory_guard
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
    def named(cls, name: str, retention: float) -> Condition:
        """The condition of this name on the command line. Raises InputError if there is none."""
        if name in (DENSE, BLIND):
            return cls(name)
        if name not in REDUCERS:
            raise InputError(f"there is no method {name!r}; choose {DENSE}, {BLIND}, {', '.join(REDUCERS)}")
        return cls(name, REDUCERS[name](retention))

    @property
    def settings(self) -> str:
        """Every setting, as text."""
        return self.name if self.reducer is None else repr(self.reducer)


@dataclass(frozen=True)
class Prompt:
    """One question about one picture."""

    picture: Image.Image
    question: str


@dataclass(frozen=True)
class Reply:
    """The model's answer to one prompt."""

    text: str
    visual_tokens: float  # mean over decoder layers and over the pictures of the batch, as recorded


def sharing(lvlm: LVLM, condition: Condition) -> str:
    """How much work prompts about one picture can share: "prefill", "picture" or "prompt"."""
    if condition.name == BLIND or not lvlm.family.one_row_per_picture:
        return "prompt"
    reducer = condition.reducer
    cuts = () if reducer is None else reducer.cut_layers(lvlm.anatomy)
    joint = bool(cuts) and reducer is not None and reducer.needs(lvlm.anatomy).joint
    return "picture" if joint or any(cuts) else "prefill"


@torch.inference_mode()
def generate_replies(lvlm: LVLM, condition: Condition, prompts: Sequence[Prompt], max_new_tokens: int) -> list[Reply]:
    """Greedy replies, in the order of the prompts. Work is shared (`sharing`) if all show the same picture object.

    Raises InputError if the method refuses this model or picture.
    """
    if condition.name == BLIND:
        return _blind(lvlm, prompts, max_new_tokens)
    alone = len(prompts) == 1 or any(prompt.picture is not prompts[0].picture for prompt in prompts)
    shared = "prompt" if alone else sharing(lvlm, condition)
    with memory_guard(lvlm.device), reduced(lvlm.model, condition.reducer) as trace:
        if shared == "prompt":
            return _replies(lvlm, _inputs(lvlm, prompts), trace, max_new_tokens)
        chats = [lvlm.chat(prompt.question) for prompt in prompts]
        inputs, columns = lvlm.prepare_shared(prompts[0].picture, chats)
        if shared == "picture" or not columns:
            with _repeated(lvlm, len(prompts)):
                return _replies(lvlm, inputs, trace, max_new_tokens)
        pixels = inputs.pop("pixel_values")
        out = lvlm.model(input_ids=inputs["input_ids"][:1, :columns], pixel_values=pixels, logits_to_keep=1)
        cache = cache_out(out)
        cache.batch_repeat_interleave(len(prompts))
        return _replies(lvlm, with_cache(inputs, cache), trace, max_new_tokens)


def _blind(lvlm: LVLM, prompts: Sequence[Prompt], max_new_tokens: int) -> list[Reply]:
    """The prompts without their visual tokens and without the pictures themselves."""
    visual = set(lvlm.family.visual_token_ids(lvlm.model))
    rows = []
    for prompt in prompts:
        ids = _inputs(lvlm, [prompt])["input_ids"][0].tolist()
        rows.append([token for token in ids if token not in visual])
    with reduced(lvlm.model, None) as trace:
        return _replies(lvlm, lvlm.padded([[]] * len(rows), rows), trace, max_new_tokens)


def _inputs(lvlm: LVLM, prompts: Sequence[Prompt]) -> Any:
    """A left-padded batch on the model's device."""
    return lvlm.prepare([prompt.picture for prompt in prompts], [lvlm.chat(prompt.question) for prompt in prompts])


def _replies(lvlm: LVLM, inputs: Any, trace: Trace, max_new_tokens: int) -> list[Reply]:
    made = lvlm.model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
    tails = made[:, inputs["input_ids"].shape[1] :]
    counts = trace.visual_tokens_per_layer
    mean = sum(counts) / len(counts) / max(1, len(trace.images)) if trace.images else 0.0
    texts = lvlm.processor.batch_decode(tails, skip_special_tokens=True)
    return [Reply(text.strip(), mean) for text in texts]


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
