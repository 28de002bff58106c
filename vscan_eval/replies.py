"""Questions about one picture in, replies out; the picture is looked at once wherever that changes nothing.

Three ways, the first that fits (`way`):
- "prefill": the method never reads the question, so the words and the picture that all prompts begin with run once,
  and every question continues a copy of their cache;
- "picture": the method reads the question inside the LLM, so one run of the vision side serves a batch of prompts;
- "prompt": a plain padded batch, one picture per prompt; for models whose pictures are packed.
Without a method's name, "none": the same prompts with the visual tokens left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vscan_core.attach import reduced
from vscan_core.errors import InputError
from vscan_core.lvlm import LVLM
from vscan_core.measure import memory_guard
from vscan_core.reducers import REDUCERS, Reducer
from vscan_core.trace import Trace
from vscan_core.versions import cache_out, with_cache

BASELINE, NONE = "baseline", "none"


@dataclass(frozen=True)
class Method:
    """What is measured: a reducer, the model as it is ("baseline"), or the model without visual tokens ("none")."""

    name: str
    reducer: Reducer | None = None

    @classmethod
    def named(cls, name: str, retention: float) -> Method:
        """By the name on the command line; InputError if there is none of that name."""
        if name in (BASELINE, NONE):
            return cls(name)
        if name not in REDUCERS:
            raise InputError(f"there is no method {name!r}; choose {BASELINE}, {NONE}, {', '.join(REDUCERS)}")
        return cls(name, REDUCERS[name](retention))

    @property
    def settings(self) -> str:
        """Every setting, as text."""
        return self.name if self.reducer is None else repr(self.reducer)


@dataclass(frozen=True)
class Prompt:
    """One question about one picture."""

    picture: Image.Image
    words: str


@dataclass(frozen=True)
class Reply:
    """What came back."""

    text: str
    visual_tokens: float  # mean over decoder layers, as recorded; of the batch's mean picture


def way(lvlm: LVLM, method: Method) -> str:
    """How much work prompts about one picture can share: "prefill", "picture" or "prompt"."""
    if method.name == NONE or not lvlm.family.one_row_per_picture:
        return "prompt"
    cuts = () if method.reducer is None else method.reducer.cut_layers(lvlm.anatomy)
    joint = bool(cuts) and method.reducer is not None and method.reducer.needs(lvlm.anatomy).joint
    return "picture" if joint or any(cuts) else "prefill"


@torch.inference_mode()
def ask(lvlm: LVLM, method: Method, prompts: Sequence[Prompt], max_new_tokens: int) -> list[Reply]:
    """Greedy replies. Work is shared (`way`) if all prompts show the same picture object."""
    if method.name == NONE:
        return _blind(lvlm, prompts, max_new_tokens)
    alone = len(prompts) == 1 or any(prompt.picture is not prompts[0].picture for prompt in prompts)
    shared = "prompt" if alone else way(lvlm, method)
    with memory_guard(lvlm.device), reduced(lvlm.model, method.reducer) as trace:
        if shared == "prompt":
            return _replies(lvlm, _inputs(lvlm, prompts), trace, max_new_tokens)
        inputs, before = _aligned(lvlm, prompts)
        if shared == "picture" or not before:
            with _repeated(lvlm, len(prompts)):
                return _replies(lvlm, inputs, trace, max_new_tokens)
        pixels = inputs.pop("pixel_values")
        out = lvlm.model(input_ids=inputs["input_ids"][:1, :before], pixel_values=pixels, logits_to_keep=1)
        cache = cache_out(out)
        cache.batch_repeat_interleave(len(prompts))
        return _replies(lvlm, with_cache(inputs, cache), trace, max_new_tokens)


def _blind(lvlm: LVLM, prompts: Sequence[Prompt], max_new_tokens: int) -> list[Reply]:
    """The prompts with every visual token left out, also the picture itself."""
    visual = set(lvlm.family.visual_token_ids(lvlm.model))
    rows = []
    for prompt in prompts:
        ids = _inputs(lvlm, [prompt])["input_ids"][0].tolist()
        rows.append([token for token in ids if token not in visual])
    with reduced(lvlm.model, None) as trace:
        return _replies(lvlm, _padded(lvlm, [[]] * len(rows), rows), trace, max_new_tokens)


def _inputs(lvlm: LVLM, prompts: Sequence[Prompt]) -> Any:
    """A left-padded batch on the model's device."""
    return lvlm.prepare([prompt.picture for prompt in prompts], [lvlm.chat(prompt.words) for prompt in prompts])


def _aligned(lvlm: LVLM, prompts: Sequence[Prompt]) -> tuple[dict[str, Tensor], int]:
    """One picture, and its prompts padded BEHIND it, so that its tokens have the same columns in every row.

    Also how many columns the shared beginning has: the picture, and the words behind it that all prompts have. 0 if
    there are no such words: a prompt that ended in the picture would be answered by its last visual token.
    """
    first = _inputs(lvlm, prompts[:1])
    ids = first["input_ids"][0]
    visual = torch.isin(ids, torch.tensor(lvlm.family.visual_token_ids(lvlm.model), device=ids.device))
    behind = int(visual.nonzero()[-1]) + 1
    beginning, rows = ids[:behind].tolist(), []
    for prompt in prompts:  # whole, because a tokenizer may treat the start of a text in its own way
        whole = lvlm.processor.tokenizer(lvlm.chat(prompt.words))["input_ids"]
        rows.append(whole[whole.index(beginning[-1]) + 1 :])
    assert beginning + rows[0] == ids.tolist(), "words are tokenised alike, whatever stands for the picture"
    alike = takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))
    common = min(len(list(alike)), min(map(len, rows)) - 1)  # every row has something left to ask
    beginnings = [beginning + row[:common] for row in rows]
    inputs = _padded(lvlm, beginnings, [row[common:] for row in rows])
    return inputs | {"pixel_values": first["pixel_values"]}, behind + common if common else 0


def _padded(lvlm: LVLM, beginnings: list[list[int]], ends: list[list[int]]) -> dict[str, Tensor]:
    """Rows of beginning, padding, end."""
    longest = max(map(len, ends))
    fill = lvlm.processor.tokenizer.pad_token_id
    pairs = list(zip(beginnings, ends, strict=True))
    ids = [[*head, *[fill] * (longest - len(tail)), *tail] for head, tail in pairs]
    mask = [[1] * len(head) + [0] * (longest - len(tail)) + [1] * len(tail) for head, tail in pairs]
    return {
        "input_ids": torch.tensor(ids, device=lvlm.device),
        "attention_mask": torch.tensor(mask, device=lvlm.device),
    }


def _replies(lvlm: LVLM, inputs: Any, trace: Trace, max_new_tokens: int) -> list[Reply]:
    made = lvlm.model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
    tails = made[:, inputs["input_ids"].shape[1] :]
    counts = trace.visual_tokens_per_layer
    mean = sum(counts) / len(counts) / max(1, len(trace.images)) if trace.images else 0.0
    texts = lvlm.processor.batch_decode(tails, skip_special_tokens=True)
    return [Reply(text.strip(), mean) for text in texts]


@contextmanager
def _repeated(lvlm: LVLM, times: int) -> Iterator[None]:
    """What the projector makes of one picture goes to `times` rows of the batch, marks included.

    To be entered inside `reduced`, whose own hooks then come first; it sees the rows as beam search's copies.
    """
    handle = lvlm.family.projector(lvlm.model).register_forward_hook(
        lambda module, args, out: out.repeat_interleave(times, dim=0)
    )
    try:
        yield
    finally:
        handle.remove()
