"""What `answer` and `compare` yield while they run, and the Answer that they end with."""

from __future__ import annotations

from dataclasses import dataclass

from vscan_core.trace import Trace


@dataclass(frozen=True)
class Timings:
    """Milliseconds, each stage apart; measured in this run on the model's device, processor and queue excluded.

    vision: pixels to embeddings, without selection; reduce: all selections, both stages; prefill: the decoder over
    the prompt, without selection; ttft = vision + reduce + prefill; decode per token: mean over the later tokens.
    """

    vision_ms: float
    reduce_ms: float
    prefill_ms: float
    ttft_ms: float
    decode_ms_per_token: float | None  # None: only one token was generated
    total_ms: float


@dataclass(frozen=True)
class Cost:
    """What the run cost apart from time."""

    visual_tokens: float  # mean number of visual tokens per decoder layer in prefill
    tflops: float  # prefill of the decoder, by the formula in measure.py
    kv_bytes: int  # keys and values of the real cache after prefill
    peak_bytes: int | None  # peak memory during the run, weights included; None: cannot be read on this system


@dataclass(frozen=True)
class Answer:
    """One finished (or stopped) run."""

    text: str
    trace: Trace
    timings: Timings
    cost: Cost
    token_ids: tuple[int, ...]
    method: str  # key in REDUCERS, or "baseline"
    finished: bool  # False: the length limit ended it, not the end-of-sequence token
    hint: str | None = None  # a plain sentence for the reader, e.g. that the picture is outside the model's world


@dataclass(frozen=True)
class Prefilled:
    """The prompt is in the cache; the trace is complete and can be drawn."""

    run: int  # which entry of compare's list; 0 for answer
    method: str
    trace: Trace


@dataclass(frozen=True)
class Token:
    """One more token; `text` is the whole answer so far."""

    run: int
    text: str


@dataclass(frozen=True)
class Done:
    """The run has ended."""

    run: int
    answer: Answer


Event = Prefilled | Token | Done
