"""Every way in which people call a model inside `reduced`, on any family: what it gives is held against plain greedy.

A way takes a Case and returns Seen: the new tokens of row 0, the kept tokens of every cut of its pictures, and, where
it has them, the logits of the first step. It may raise what the library raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import TextIteratorStreamer

import vscan_core as vc
from vscan_core.versions import CACHE, cache_out

STEPS = 6
Kept = list[list[list[int]]]


@dataclass(frozen=True)
class Case:
    """One prompt with its pictures, a fresh model and a method."""

    make: Callable[[], Any]  # a model
    model: Any
    inputs: dict[str, Any]
    method: vc.Reducer
    token: int  # the placeholder

    def reduced(self) -> Any:
        return vc.reduced(self.model, self.method)


@dataclass(frozen=True)
class Seen:
    tokens: list[int] | None
    kept: Kept
    first: Tensor | None = None  # (vocabulary,) logits


@dataclass(frozen=True)
class Way:
    """title: as the table names it."""

    title: str
    run: Callable[[Case], Seen]


WAYS: dict[str, Way] = {}


def way(title: str) -> Callable[[Callable[[Case], Seen]], Callable[[Case], Seen]]:
    def enter(run: Callable[[Case], Seen]) -> Callable[[Case], Seen]:
        WAYS[run.__name__] = Way(title, run)
        return run

    return enter


def run_apart(serve: Callable[[], Any]) -> Any:
    """An event loop on a thread of its own: the browser of other tests may have one here."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(serve())).result()


def kept(trace: vc.Trace) -> Kept:
    return [[cut.kept.tolist() for cut in image.cuts] for image in trace.images]


def new(out: Tensor, steps: int = STEPS) -> list[int]:
    return out[0, -steps:].tolist()


def generate(case: Case, model: Any = None, **more: Any) -> Seen:
    inputs = {**case.inputs, **more}
    with case.reduced() as trace:
        out = (case.model if model is None else model).generate(
            **inputs,
            max_new_tokens=STEPS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    return Seen(new(out.sequences), kept(trace), out.logits[0][0])


def forward(case: Case, model: Any = None, **more: Any) -> Seen:
    with torch.no_grad(), case.reduced() as trace:
        out = (case.model if model is None else model)(**{**case.inputs, **more})
    assert all(part.isfinite().all() for part in _tensors(out)), "marks leak"
    return Seen(None, kept(trace), out.logits[0, -1])


def _tensors(found: Any) -> list[Tensor]:
    if torch.is_tensor(found):
        return [found]
    if isinstance(found, Mapping):
        return [tensor for part in found.values() for tensor in _tensors(part)]
    return [tensor for part in found for tensor in _tensors(part)] if isinstance(found, list | tuple) else []


def by_hand(case: Case, wait: Callable[[], Any] = lambda: None) -> Seen:
    """A decoding loop of plain forwards."""
    with torch.no_grad(), case.reduced() as trace:
        wait()
        out = case.model(**case.inputs, use_cache=True)
        first, cache, ids = out.logits[0, -1], cache_out(out), [int(out.logits[0, -1].argmax())]
        while len(ids) < STEPS:
            wait()
            step = case.model(input_ids=torch.tensor([[ids[-1]]]), **{CACHE: cache})
            ids.append(int(step.logits[0, -1].argmax()))
    return Seen(ids, kept(trace), first)


@way("plain forward")
def plain_forward(case: Case) -> Seen:
    return forward(case)


@way("plain forward, no cache")
def no_cache(case: Case) -> Seen:
    return forward(case, use_cache=False)


@way("`generate` without a cache")
def generate_no_cache(case: Case) -> Seen:
    text = {"suppress_tokens": [99, 100, 101, 102]}  # a model with random weights may say a placeholder
    wanted, got = generate(case, **text), generate(case, use_cache=False, **text)
    assert (got.tokens, got.kept) == (wanted.tokens, wanted.kept)
    return Seen(None, got.kept, got.first)


@way("own decoding loop")
def own_loop(case: Case) -> Seen:
    return by_hand(case)


@way("thread of a pool that was there before")
def old_pool(case: Case) -> Seen:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        for _ in range(2):
            with case.reduced() as trace:
                out = pool.submit(case.model.generate, **case.inputs, max_new_tokens=STEPS, do_sample=False).result()
    return Seen(new(out), kept(trace))


@way("`asyncio.to_thread`, two requests at once")
def to_thread(case: Case) -> Seen:
    async def answer() -> Seen:
        with case.reduced() as trace:
            out = await asyncio.to_thread(case.model.generate, **case.inputs, max_new_tokens=STEPS, do_sample=False)
        return Seen(new(out), kept(trace))

    async def both() -> list[Seen]:
        return await asyncio.gather(answer(), answer())

    first, second = run_apart(both)
    assert first == second
    return first


class Digits:
    """Stands in for a tokenizer."""

    def decode(self, ids: Any, **_: Any) -> str:
        return "".join(f"{int(i)} " for i in ids)


@way("streaming from a thread, `with` left at once")
def streaming(case: Case) -> Seen:
    streamer = TextIteratorStreamer(Digits(), skip_prompt=True, timeout=60)
    more = {**case.inputs, "max_new_tokens": STEPS, "do_sample": False, "streamer": streamer}
    with case.reduced() as trace:
        threading.Thread(target=case.model.generate, kwargs=more).start()
    return Seen([int(word) for word in "".join(streamer).split()], kept(trace))


@way("two threads taking turns, a `with` each")
def turns(case: Case) -> Seen:
    barrier, seen = threading.Barrier(2, timeout=60), {}

    def run(name: int, one: Case) -> None:
        try:
            seen[name] = by_hand(one, barrier.wait)
        finally:
            if name not in seen:
                barrier.abort()

    other = dict(case.inputs)
    other["input_ids"] = torch.cat([case.inputs["input_ids"], torch.tensor([[7, 8]])], 1)  # the same picture, more text
    other["attention_mask"] = torch.ones_like(other["input_ids"])
    if "mm_token_type_ids" in other:
        other["mm_token_type_ids"] = torch.nn.functional.pad(other["mm_token_type_ids"], (0, 2))
    two = [case, Case(case.make, case.model, other, vc.VScan(encoder_keep=0.5, llm_keep={4: 0.5}), case.token)]
    threads = [threading.Thread(target=run, args=job) for job in enumerate(two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen[0]


@way("two decoding loops in turns in one thread, one `with`")
def one_thread(case: Case) -> Seen:
    ids: list[list[int]] = [[], []]
    with torch.no_grad(), case.reduced() as trace:
        starts = [case.model(**case.inputs, use_cache=True) for _ in range(2)]
        caches = [cache_out(start) for start in starts]
        for i in range(2):
            ids[i].append(int(starts[i].logits[0, -1].argmax()))
        while len(ids[1]) < STEPS:
            for i in range(2):
                step = case.model(input_ids=torch.tensor([ids[i][-1:]]), **{CACHE: caches[i]})
                ids[i].append(int(step.logits[0, -1].argmax()))
    assert ids[0] == ids[1]
    return Seen(ids[0], kept(trace), starts[0].logits[0, -1])


@way("prompt lookup, drafts with the prefill")
def prompt_lookup(case: Case) -> Seen:
    repeated = {**case.inputs}
    tail = torch.tensor([[20, 21, 22, 23, 24, 20, 21]])
    for name, part in (("input_ids", tail), ("attention_mask", torch.ones_like(tail))):
        repeated[name] = torch.cat([repeated[name], part], 1)
    if "mm_token_type_ids" in repeated:
        repeated["mm_token_type_ids"] = torch.nn.functional.pad(repeated["mm_token_type_ids"], (0, tail.shape[1]))
    longer = Case(case.make, case.model, repeated, case.method, case.token)
    wanted = generate(longer)
    drafted = generate(longer, prompt_lookup_num_tokens=2)
    assert (drafted.tokens, drafted.kept) == (wanted.tokens, wanted.kept)
    return generate(case, prompt_lookup_num_tokens=2)


@way("assistant model")
def assistant(case: Case) -> Seen:
    helper = case.make()
    return generate(case, assistant_model=helper)


@way("classifier-free guidance")
def guidance(case: Case) -> Seen:
    guided = {"guidance_scale": 1.5, "negative_prompt_ids": torch.tensor([[1, 5, 9, 11]])}
    with case.reduced() as trace:
        out = case.model.generate(
            **case.inputs, **guided, max_new_tokens=STEPS, do_sample=False, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
    assert sum(map(len, kept(trace))) and trace.visual_tokens_per_layer[0] > 0
    return Seen(None, kept(trace), out.logits[0][0])


@way("beam search")
def beams(case: Case) -> Seen:
    pictures = len(generate(case).kept)
    with case.reduced() as trace:
        case.model.generate(**case.inputs, max_new_tokens=STEPS, do_sample=False, num_beams=2)
    return Seen(None, kept(trace)[:pictures])  # before 5.23, transformers encodes a picture once per beam


def _padded(case: Case, left: bool) -> dict[str, Any]:
    """Row 0 of two is the case; the other one is longer."""
    one = case.inputs
    extra = torch.tensor([[3, 4, 5]])
    ids, length = one["input_ids"], one["input_ids"].shape[1]
    longer, blank = torch.cat([ids, extra], 1), torch.zeros_like(extra)
    first = torch.cat([blank, ids] if left else [ids, blank], 1)
    mask = torch.ones(2, length + 3, dtype=torch.long)
    mask[0, :3] = mask[0, :3] * (not left)
    mask[0, length:] = mask[0, length:] * left
    both = {name: torch.cat([part, part]) for name, part in one.items() if isinstance(part, Tensor)}
    both |= {"input_ids": torch.cat([first, longer]), "attention_mask": mask}
    if "mm_token_type_ids" in one:
        kinds, none = one["mm_token_type_ids"], torch.zeros_like(extra)
        row = torch.cat([none, kinds] if left else [kinds, none], 1)
        both["mm_token_type_ids"] = torch.cat([row, torch.cat([kinds, none], 1)]).int()
    return both


def _row(case: Case, both: dict[str, Any]) -> Seen:
    with torch.no_grad(), case.reduced() as trace:
        logits = case.model(**both).logits[0, -1]
    return Seen(None, kept(trace)[: len(trace.images) // 2], logits)


@way("left-padded batch")
def left_padding(case: Case) -> Seen:
    return _row(case, _padded(case, left=True))


@way("right-padded batch")
def right_padding(case: Case) -> Seen:
    return _row(case, _padded(case, left=False))


@way("right-padded batch in `generate`")
def right_padding_generate(case: Case) -> Seen:
    both = _padded(case, left=False)
    with case.reduced() as trace:
        out = case.model.generate(**both, max_new_tokens=STEPS, do_sample=False)
    return Seen(new(out), kept(trace)[: len(trace.images) // 2])


@way("`prefill_chunk_size`")
def chunks(case: Case) -> Seen:
    return generate(case, prefill_chunk_size=8)


@way("`logits_to_keep` as positions")
def positions(case: Case) -> Seen:
    last = case.inputs["input_ids"].shape[1] - 1
    with torch.no_grad(), case.reduced() as trace:
        logits = case.model(**case.inputs, logits_to_keep=torch.tensor([-2, last])).logits
    assert logits.shape[1] == 2
    return Seen(None, kept(trace), logits[0, 1])


@way("`torch.compile(model)`")
def compiled(case: Case) -> Seen:
    quick = torch.compile(case.model, backend="eager")
    with torch.no_grad():
        quick(**case.inputs)
    seen = forward(case, quick)
    torch._dynamo.reset()
    return seen


@way("`model.compile()`")
def compiled_in_place(case: Case) -> Seen:
    model = case.make()
    model.compile(backend="eager")
    mine = Case(case.make, model, case.inputs, case.method, case.token)
    with torch.no_grad():
        model(**case.inputs)
    seen = generate(mine)
    torch._dynamo.reset()
    return seen


@way("decoder layers compiled one by one")
def compiled_layers(case: Case) -> Seen:
    model = case.make()
    layers = vc.families.family_of(model).layers(model)
    for layer in layers:
        layer.compile(backend="eager")
    seen = forward(Case(case.make, model, case.inputs, case.method, case.token))
    torch._dynamo.reset()
    return seen


@way("autocast to bfloat16")
def autocast(case: Case) -> Seen:
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad(), case.reduced() as trace:
        logits = case.model(**case.inputs).logits[0, -1]
    assert logits.isfinite().all()
    with case.reduced() as exact, torch.no_grad():
        case.model(**case.inputs)
    assert trace.visual_tokens_per_layer == exact.visual_tokens_per_layer  # as many; rounding may choose others
    return Seen(None, kept(exact))


@way("LoRA adapters (PEFT)")
def peft(case: Case) -> Seen:
    peft = pytest.importorskip("peft")
    plain = case.make()
    linear = [name for name, part in plain.named_modules() if isinstance(part, torch.nn.Linear)]
    adapted = [name for name in linear if name.endswith(("q_proj", "v_proj"))]
    model = peft.get_peft_model(plain, peft.LoraConfig(r=2, target_modules=adapted)).eval()
    return generate(Case(case.make, model, case.inputs, case.method, case.token))


@way("continuing a cache, copied for every question")
def copied_cache(case: Case) -> Seen:
    with torch.no_grad(), case.reduced() as trace:
        out = case.model(**case.inputs, use_cache=True)
        first, cache = out.logits[0, -1], cache_out(out)
        answers = []
        for _ in range(2):
            mine, ids = copy.deepcopy(cache), [int(first.argmax())]
            while len(ids) < STEPS:
                step = case.model(input_ids=torch.tensor([[ids[-1]]]), **{CACHE: mine})
                ids.append(int(step.logits[0, -1].argmax()))
            answers.append(ids)
    assert answers[0] == answers[1]
    return Seen(answers[0], kept(trace), first)


def _later_turn(case: Case, pixels: bool) -> Seen:
    """The second `generate` goes on with the cache and the tokens of the first."""
    settings = {"do_sample": False, "return_dict_in_generate": True}
    with case.reduced() as trace:
        first = case.model.generate(**case.inputs, **settings, max_new_tokens=STEPS - 2)
        more = {**(case.inputs if pixels else {}), "input_ids": first.sequences}
        more["attention_mask"] = torch.ones_like(first.sequences)
        if "mm_token_type_ids" in more:
            kinds = more["mm_token_type_ids"]
            more["mm_token_type_ids"] = torch.nn.functional.pad(kinds, (0, first.sequences.shape[1] - kinds.shape[1]))
        out = case.model.generate(**more, **{CACHE: cache_out(first)}, **settings, max_new_tokens=2)
    return Seen(new(out.sequences), kept(trace))


@way("a later `generate` on the cache of an earlier one")
def later_turn(case: Case) -> Seen:
    return _later_turn(case, pixels=False)


# ways that cannot be reduced


@way("a later `generate`, with the pixels again")
def later_turn_with_pixels(case: Case) -> Seen:
    return _later_turn(case, pixels=True)


@way("features from `get_image_features`, merged by hand")
def features_by_hand(case: Case) -> Seen:
    embed, ids = case.model.get_input_embeddings(), case.inputs["input_ids"]
    with torch.no_grad(), case.reduced() as trace:
        rows = embed(ids).clone()
        rows[ids == case.token] = _features(case).to(rows)
        assert rows.isfinite().all()
        logits = case.model(inputs_embeds=rows, attention_mask=case.inputs["attention_mask"]).logits[0, -1]
    return Seen(None, kept(trace), logits)


@way("features merged before the `with`")
def features_from_before(case: Case) -> Seen:
    embed, ids = case.model.get_input_embeddings(), case.inputs["input_ids"]
    with torch.no_grad():
        rows = embed(ids).clone()
        rows[ids == case.token] = _features(case).to(rows)
    with torch.no_grad(), case.reduced() as trace:
        logits = case.model(inputs_embeds=rows, attention_mask=case.inputs["attention_mask"]).logits[0, -1]
    return Seen(None, kept(trace), logits)


def _features(case: Case) -> Tensor:
    text_inputs = ("input_ids", "attention_mask", "mm_token_type_ids")
    pictures = {name: part for name, part in case.inputs.items() if name not in text_inputs}
    found = vc.families.family_of(case.model).encode(case.model, pictures).pooler_output
    return torch.cat([part.flatten(0, -2) for part in found])


@way("static cache")
def static_cache(case: Case) -> Seen:
    return generate(case, cache_implementation="static")


@way("`generate_batch` (continuous batching)")
def generate_batch(case: Case) -> Seen:
    with case.reduced() as trace:
        case.model.generate_batch(inputs=case.inputs["input_ids"].tolist())
    return Seen(None, kept(trace))


@way("labels (training)")
def labels(case: Case) -> Seen:
    return forward(case, labels=case.inputs["input_ids"])


@way("a ready-made 4-D mask")
def mask_4d(case: Case) -> Seen:
    length = case.inputs["input_ids"].shape[1]
    return forward(case, attention_mask=torch.zeros(1, 1, length, length))


@way("a call from outside while a `with` is open")
def from_outside(case: Case) -> Seen:
    opened, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with contextlib.suppress(RuntimeError), case.reduced():  # nothing runs in it
            opened.set()
            leave.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    opened.wait(60)
    try:
        with torch.no_grad():
            case.model(**case.inputs)
    finally:
        leave.set()
        holder.join()
    return Seen(None, [])


@way("nothing runs inside the `with`")
def nothing(case: Case) -> Seen:
    with case.reduced() as trace:
        pass
    return Seen(None, kept(trace))
