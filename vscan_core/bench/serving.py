"""The load curve of a server with OpenAI's chat completions: many questions at once, with all visual tokens and fewer.

A batch is a number of questions, each about a picture of its own, of which so many are under way at a time: whoever has
an answer asks the next question. All times are those of the client, network included.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image

from vscan_core.bench.record import Record, significant
from vscan_core.bench.subject import QUESTION
from vscan_core.chat_server import VLLM, ChatServer, data_url, stream_chat
from vscan_core.errors import InputError, ServerFailure
from vscan_core.server_replies import TokenUsage

DENSE_RUN = "dense"
SQUARES = 24  # coloured squares on each side of a picture


@dataclass(frozen=True)
class LoadCurve:
    """What is asked of which server, and how often."""

    server: ChatServer
    model: str
    methods: Sequence[tuple[str, float]]  # (method, retention); asked beside all visual tokens
    concurrency: Sequence[int]  # requests at a time
    requests: int  # per batch; at least twice the concurrency
    rounds: int
    max_tokens: int  # of each answer; vLLM always writes so many
    size: tuple[int, int]  # (width, height) of the pictures
    seed: int
    patience_s: float

    def measure(self, record: Record) -> None:
        """One row per batch, written at once; in each round and at each concurrency, runs take turns anew."""
        runs: dict[str, dict[str, Any] | None] = {DENSE_RUN: None}
        runs |= {f"{name} {share:.3f}": {"method": name, "retention": share} for name, share in self.methods}
        order, pictures = random.Random(self.seed), self._pictures()
        refusals: dict[str, str] = {}
        for name, settings in runs.items():  # untimed: the first of a kind also sets things up
            try:
                self._ask(next(pictures), settings)
            except InputError as error:
                if name == DENSE_RUN:
                    raise
                refusals[name] = str(error)
                record.add(self._head(name, settings) | {"status": "unsupported", "reason": str(error)})
        names = [name for name in runs if name not in refusals]
        for number in range(self.rounds):
            for concurrency in self.concurrency:
                order.shuffle(names)
                for name in names:
                    row = self._batch(runs[name], concurrency, pictures)
                    place = {"round": number, "concurrency": concurrency}
                    record.add(self._head(name, runs[name]) | place | row)

    def _head(self, name: str, settings: Mapping[str, Any] | None) -> dict[str, Any]:
        found = settings or {"method": None, "retention": 1.0}
        return {"test": "serving", "model": self.model, "server": self.server.name, "run": name, **found}

    def _pictures(self) -> Iterator[str]:
        """Coloured squares, never the same twice, as data URLs."""
        noise = np.random.default_rng(self.seed)
        while True:
            cells = Image.fromarray(noise.integers(0, 256, (SQUARES, SQUARES, 3), np.uint8))
            yield data_url(cells.resize(self.size, Image.Resampling.NEAREST))

    def _batch(self, settings: dict[str, Any] | None, concurrency: int, pictures: Iterator[str]) -> dict[str, Any]:
        """Figures of one batch. One request that fails makes it fail: the others had less to share the server with."""
        count = max(self.requests, 2 * concurrency)
        ready = [next(pictures) for _ in range(count)]
        with ThreadPoolExecutor(concurrency) as clients:
            begun = perf_counter()
            under_way = [clients.submit(self._ask, picture, settings) for picture in ready]
            try:
                replies = [each.result() for each in under_way]
            except InputError as error:
                return {"requests": count, "status": "failed", "reason": str(error)}
            finally:
                clients.shutdown(cancel_futures=True)
        return {"requests": count, "status": "ok", **figures_of_batch(replies, perf_counter() - begun)}

    def _ask(self, picture: str, settings: dict[str, Any] | None) -> TimedReply:
        body = self.server.asked(self.model, picture, QUESTION, settings, self.max_tokens)
        if self.server.software == VLLM:
            body["ignore_eos"] = True
        first, last, usage = 0.0, 0.0, None
        for chunk in stream_chat(self.server, body, self.patience_s):
            if not first and chunk.token:
                first = chunk.ms
            last, usage = chunk.ms, chunk.usage or usage
        if usage is None:
            raise ServerFailure(f"{self.server.who} does not count tokens (stream_options).")
        return TimedReply(first, last, usage)


@dataclass(frozen=True)
class TimedReply:
    """One answer: milliseconds from asking to the first token and to the end, and what the server counted."""

    first_ms: float
    total_ms: float
    usage: TokenUsage


def figures_of_batch(replies: Sequence[TimedReply], seconds: float) -> dict[str, Any]:
    """Throughput over `seconds`, percentiles of times, and counts of tokens, which are the same in every reply."""
    usages = [reply.usage for reply in replies]

    def one(value: Callable[[TokenUsage], int | None]) -> Any:
        found = sorted({count for usage in usages if (count := value(usage)) is not None})
        return found[0] if len(found) == 1 else found or None

    return {
        "requests_per_s": significant(len(replies) / seconds),
        "tokens_per_s": significant(sum(usage.completion for usage in usages) / seconds),
        "ttft_ms": percentiles([reply.first_ms for reply in replies]),
        "total_ms": percentiles([reply.total_ms for reply in replies]),
        "prompt_tokens": one(lambda usage: usage.prompt),
        "visual_tokens": one(lambda usage: usage.visual),
        "completion_tokens": one(lambda usage: usage.completion),
        "cached_tokens": sum(usage.cached for usage in usages),
    }


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50 and p95 (the least value that 95 % do not exceed). 1 to 20 -> 10.5 and 19."""
    ranked = sorted(values)
    return {"p50": significant(median(ranked)), "p95": significant(ranked[math.ceil(0.95 * len(ranked)) - 1])}
