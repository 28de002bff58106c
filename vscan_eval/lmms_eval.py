"""`lmms-eval --model vscan`: any method of this library on the benchmarks of lmms-eval (0.7.3 or newer).

    lmms-eval --model vscan --model_args pretrained=llava-hf/llava-1.5-7b-hf,method=vscan,retention=0.111 --tasks pope

Found through the entry point group `lmms_eval.models`. Several GPUs: `accelerate launch --num_processes N -m lmms_eval
...` gives every process a copy of the model and a share of the questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from time import perf_counter
from typing import Any

import torch
from accelerate import Accelerator
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.models.model_utils.gen_metrics import log_metrics
from tqdm import tqdm

from vscan_core.attach import reduced
from vscan_core.errors import InputError
from vscan_core.loading import load_model
from vscan_core.reducers import REDUCERS, Reducer

PASSED_ON = ("max_new_tokens", "num_beams", "do_sample", "temperature", "top_p", "top_k", "repetition_penalty")


class VScanModel(lmms):  # type: ignore[misc]
    """A stock model, with one method active while it generates.

    pretrained: a Hub id, a local folder or "mini". method: a key of `vscan_core.REDUCERS`, or "baseline".
    retention: average share of visual tokens over the decoder layers. Further `settings` are fields of the method,
    e.g. local_share=0.25. system_prompt: text, or a file that holds it; LLaVA's own evaluation uses Vicuna's.
    batch_size: questions at once, left-padded.
    Raises InputError for an unknown model, method or setting.
    """

    is_simple = False  # lmms-eval hands over chat turns, not a ready prompt

    def __init__(
        self,
        pretrained: str = "mini",
        method: str = "vscan",
        retention: float = 1 / 9,
        batch_size: int | str = 1,
        device: str | None = None,
        dtype: str | None = None,
        attn_implementation: str = "sdpa",
        system_prompt: str = "",
        max_batch_size: int | None = None,  # lmms-eval passes it to every model
        **settings: Any,
    ) -> None:
        super().__init__()
        self.reducer = _reducer(method, retention, settings)
        self.accelerator = Accelerator()
        self._rank, self._world_size = self.accelerator.process_index, self.accelerator.num_processes
        self.lvlm = load_model(
            pretrained,
            device=self.accelerator.device if self._world_size > 1 else device,
            dtype=_dtype(dtype),
            attn_implementation=attn_implementation,
        )
        self.processor = self.lvlm.processor
        self.batch_size = _batch_size(batch_size)
        self.system_prompt = self._resolve_system_prompt(system_prompt)

    @property
    def device(self) -> torch.device:
        """The device of the inputs; lmms-eval gathers counts on it."""
        return self.lvlm.device

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """One answer per request, in the order of the requests."""
        answers: list[GenerationResult] = []
        visual: list[float] = []
        start = perf_counter()
        with tqdm(total=len(requests), desc=f"vscan {self.lvlm.name}", disable=self.rank != 0) as bar:
            for batch in _batches(requests, self.batch_size):
                found, tokens = self._answer(batch)
                answers += found
                visual += tokens
                bar.update(len(batch))
        seconds, count = perf_counter() - start, sum(answer.token_counts.output_tokens for answer in answers)
        # goes into the result file, as proof of how much was reduced
        measured = {"visual_tokens_per_layer": sum(visual) / len(visual)} if visual else {}
        log_metrics(seconds, count, count / seconds, {"num_requests": len(requests), **measured})
        return answers

    def _answer(self, batch: Sequence[Instance]) -> tuple[list[GenerationResult], list[float]]:
        """Answers of one batch, and the visual tokens per image, averaged over decoder layers."""
        options = dict(batch[0].args[2])
        chats = [self._messages(request) for request in batch]
        texts = [self.lvlm.prompt(chat) for chat in chats]
        images = [image for chat in chats for image in _images(chat)]
        inputs = self.lvlm.prepare(images, texts, [_question(chat) for chat in chats])
        with torch.inference_mode(), reduced(self.lvlm.model, self.reducer) as trace:
            out = self.lvlm.model.generate(**inputs, **self._settings(options))
        new = out[:, inputs["input_ids"].shape[1] :]
        ended = new == self._pad
        counts = [int(row.argmax()) if row.any() else len(row) for row in ended.int()]
        texts = self.processor.tokenizer.batch_decode(new, skip_special_tokens=True)
        answers = [
            GenerationResult(_cut(text, options.get("until")), TokenCounts(output_tokens=count))
            for text, count in zip(texts, counts, strict=True)
        ]
        layers = trace.visual_tokens_per_layer
        return answers, [sum(layers) / len(layers) / len(images)] * len(images) if images else []

    def _messages(self, request: Instance) -> list[dict[str, Any]]:
        _, make, _, document, task, split = request.args
        return list(self._apply_system_prompt(make(self.task_dict[task][split][document]), self.system_prompt))

    @property
    def _pad(self) -> int:
        tokenizer = self.processor.tokenizer
        return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)

    def _settings(self, options: dict[str, Any]) -> dict[str, Any]:
        """The task's generation settings as arguments of `generate`; temperature 0 means greedy."""
        settings = {"max_new_tokens": 1024, "do_sample": False, "pad_token_id": self._pad}
        settings |= {name: options[name] for name in PASSED_ON if options.get(name) is not None}
        if not settings.get("temperature"):
            settings["do_sample"] = False
        sampling = () if settings["do_sample"] else ("temperature", "top_p", "top_k")
        return {name: value for name, value in settings.items() if name not in sampling}

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Raises NotImplementedError: lmms-eval only asks chat models for generated answers."""
        raise NotImplementedError("vscan answers generate_until tasks only; choose one with that output type")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Raises NotImplementedError."""
        raise NotImplementedError("vscan answers generate_until tasks only; choose one with that output type")

    def clean(self) -> None:
        """Free the model; lmms-eval calls this before it loads a judge."""
        del self.lvlm, self.processor
        super().clean()


def _reducer(method: str, retention: float, settings: dict[str, Any]) -> Reducer | None:
    if method == "baseline":
        return None
    cls = REDUCERS.named(method, "baseline, ")
    try:
        return cls(retention, **settings)
    except TypeError as error:
        raise InputError(f"{method} does not have these settings: {error}") from None


def _dtype(name: str | None) -> torch.dtype | None:
    kind = getattr(torch, name, None) if name else None
    if name and not isinstance(kind, torch.dtype):
        raise InputError(f"there is no dtype {name!r}; choose bfloat16, float16 or float32")
    return kind


def _batch_size(given: int | str) -> int:
    try:
        return max(1, int(given))
    except ValueError:
        raise InputError(f"batch_size must be a number, but is {given!r}") from None


def _batches(requests: list[Instance], size: int) -> Iterator[list[Instance]]:
    """Adjacent requests with the same generation settings, at most `size` each."""
    for _, same in groupby(requests, key=lambda request: repr(request.args[2])):
        group = list(same)
        yield from (group[start : start + size] for start in range(0, len(group), size))


def _images(chat: list[dict[str, Any]]) -> Iterator[Any]:
    for turn in chat:
        for part in turn["content"]:
            if part["type"] == "image":
                yield part["url"]
            elif part["type"] != "text":
                raise InputError(f"vscan answers questions about pictures, not {part['type']}; choose another task")


def _question(chat: list[dict[str, Any]]) -> str:
    """The text of the last turn."""
    return "\n".join(part["text"] for part in chat[-1]["content"] if part["type"] == "text")


def _cut(text: str, until: str | list[str] | None) -> str:
    """The answer up to the first stop word. Blank ones, lmms-eval's default, are ignored, as they cut long answers."""
    for stop in [until] if isinstance(until, str) else until or []:
        if stop.strip():
            text = text.split(stop)[0]
    return text.strip()
