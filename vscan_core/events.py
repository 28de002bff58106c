"""The events that `answer` and `compare` yield, and the Answer in the last one."""

from __future__ import annotations

from dataclasses import dataclass

from vscan_core.trace import Trace


@dataclass(frozen=True)
class Timings:
    """Milliseconds of each stage of this run on the model's device, without the processor and waiting in a queue.

    Of an answer from a server, all that is known is when its pieces arrived: then `prefill_ms` is `ttft_ms`, and the
    stages before it are 0.
    """

    vision_ms: float  # pixels to embeddings, without selection
    reduce_ms: float  # all selections, at the entrance of the LLM and inside it
    prefill_ms: float  # the decoder over the prompt, without selection
    ttft_ms: float  # time to first token: vision + reduce + prefill
    decode_ms_per_token: float | None  # mean over the tokens after the first; None: only one token was generated
    total_ms: float  # ttft and all decoding steps
    vision_shared_ms: float = 0.0  # the part of vision_ms that was measured once for several runs: the encoder's blocks

    @property
    def prefill_and_reduce_ms(self) -> float:
        """The decoder over the prompt with every selection: what "times faster" compares."""
        return self.prefill_ms + self.reduce_ms

    @property
    def staged(self) -> bool:
        """Whether the stages before the first token were measured apart; False: a server answered."""
        return self.vision_ms > 0

    @property
    def vision_shared(self) -> bool:
        """Whether the picture was encoded once for several runs."""
        return self.vision_shared_ms > 0


@dataclass(frozen=True)
class Cost:
    """The cost of a run other than time."""

    visual_tokens: float  # mean number of visual tokens per decoder layer in prefill
    tflops: float  # of the decoder in prefill with causal attention, by the formula in measure.py
    tflops_full: float  # the same with the whole attention map (n^2), as papers count
    kv_bytes: int  # of keys and values (or states, in layers without them) in the KV cache after prefill
    peak_bytes: int | None  # peak memory during the run, weights included; None: this system does not report it
    survey_ratio: float | None = None  # FLOPs as a share of all tokens': `survey_flop_ratio`; None: unknown
    survey_ratio_printed: float | None = None  # the same by the survey's formula with its misprints


@dataclass(frozen=True)
class Answer:
    """The result of one run."""

    text: str
    trace: Trace
    timings: Timings
    cost: Cost
    token_ids: tuple[int, ...]
    method: str  # key in REDUCERS, or "baseline"
    finished: bool  # False: it ended at the length limit, not at the end-of-sequence token
    hint: str | None = None  # a sentence for the reader, for example that the picture is unlike the training pictures
    server: tuple[str, ...] = ()  # which server answered, and what differs from what is known here: sentences
    notes: tuple[str, ...] = ()  # how the answer came about, such as that the question was read twice: sentences


@dataclass(frozen=True)
class Prefilled:
    """Prefill is done: the prompt is in the KV cache, and the trace is complete and can be drawn."""

    run: int  # index in compare's list of reducers; 0 for answer
    method: str
    trace: Trace


@dataclass(frozen=True)
class Token:
    """A token was generated; `text` is the whole answer so far."""

    run: int
    text: str


@dataclass(frozen=True)
class Done:
    """The run has ended."""

    run: int
    answer: Answer


Event = Prefilled | Token | Done
