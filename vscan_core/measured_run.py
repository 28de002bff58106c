"""One run of one method, with every stage measured separately."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from vscan_core.attach import Attachment, open_attachment
from vscan_core.engine.second_reading import margin, stop_ids
from vscan_core.engine.shared_vision import SharedVision
from vscan_core.events import Answer, Cost, Done, Event, Prefilled, Timings, Token
from vscan_core.families.tiles import PerTile
from vscan_core.lvlm import LVLM
from vscan_core.measure import PeakMemory, Stopwatch, kv_bytes, prefill_tflops
from vscan_core.prepared import PreparedInputs, shapes_of
from vscan_core.reducers import Reducer
from vscan_core.survey_ratio import survey_flop_ratio
from vscan_core.trace import Trace
from vscan_core.versions import CACHE, cache_out

OUT_OF_DISTRIBUTION = (
    "This small model knows only drawn scenes, and this picture does not look like one: treat the answer as a guess. "
    "The token selection is real all the same."
)
PROMPT_STEP = 128  # prompts whose lengths differ by less than this share a warm-up


def method_key(reducer: Reducer | None) -> str:
    """Its name in REDUCERS, or "baseline"."""
    return "baseline" if reducer is None else type(reducer).__name__.lower()


class MeasuredRun:
    """One measured run of one method."""

    def __init__(
        self,
        lvlm: LVLM,
        inputs: PreparedInputs,
        reducer: Reducer | None,
        place: int,
        limit: int,
        shared: SharedVision | None,
        below: float | None = None,
    ) -> None:
        """below: the answer ends at a token with a smaller margin, and the run is `unsure`."""
        self.lvlm, self.inputs, self.reducer, self.place, self.limit = lvlm, inputs, reducer, place, limit
        self.shared, self.below, self.unsure = shared, below, False
        self.method = method_key(reducer)
        self.stopwatch = Stopwatch(lvlm.device)

    def events(self) -> Generator[Event, None, None]:
        self._warm_up()
        memory = PeakMemory(self.lvlm.device)
        with self._attach() as attachment:
            next_id, cache, measured = self._prefill(attachment)
            yield Prefilled(self.place, self.method, attachment.trace)
            ids, steps, text, finished = [next_id], [], "", False
            stop = stop_ids(self.lvlm.model)
            while True:
                finished = ids[-1] in stop
                text = self.lvlm.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
                yield Token(self.place, text)
                if finished or self.unsure or len(ids) >= self.limit:
                    break
                next_id, ms = self._step(attachment, cache, ids[-1])
                ids.append(next_id)
                steps.append(ms)
            vision, reduce, prefill, size = measured
            timings = Timings(
                vision_ms=vision,
                reduce_ms=reduce,
                prefill_ms=prefill,
                ttft_ms=vision + reduce + prefill,
                decode_ms_per_token=sum(steps) / len(steps) if steps else None,
                total_ms=vision + reduce + prefill + sum(steps),
                vision_shared_ms=0.0 if self.shared is None else self.shared.ms,
            )
            cost = self._cost(attachment.trace, size, self._peak(memory))
        yield Done(
            self.place,
            Answer(text, attachment.trace, timings, cost, tuple(ids), self.method, finished, hint=self.hint),
        )

    def _attach(self) -> AbstractContextManager[Attachment]:
        return open_attachment(
            self.lvlm.model,
            self.reducer,
            timed=self.stopwatch.section,
            views=self.inputs.views,
            questions=self.inputs.questions,
            shared_vision=self.shared,
        )

    def _cost(self, trace: Trace, kv_cache: int, peak: int | None) -> Cost:
        visual, every = trace.visual_tokens_per_layer, trace.tokens_per_layer
        whole, decoder = self.inputs["input_ids"].shape[1], self.lvlm.model.config.text_config
        return Cost(
            visual_tokens=sum(visual) / len(visual),
            tflops=prefill_tflops(every, decoder),
            tflops_full=prefill_tflops(every, decoder, causal=False),
            kv_bytes=kv_cache,
            peak_bytes=peak,
            survey_ratio=survey_flop_ratio(every, whole, decoder),
            survey_ratio_printed=survey_flop_ratio(every, whole, decoder, as_printed=True),
        )

    def _peak(self, memory: PeakMemory) -> int | None:
        """The highest of this run and of the encoding that it shares."""
        here, shared = memory.read(), None if self.shared is None else self.shared.peak_bytes
        return here if here is None or shared is None else max(here, shared)

    @torch.inference_mode()
    def _prefill(self, attachment: Attachment) -> tuple[int, Any, tuple[float, float, float, int]]:
        stopwatch, llm = self.stopwatch, self.lvlm.family.language_model(self.lvlm.model)
        entered: list[Any] = []

        def at_llm(module: Any, args: Any) -> None:
            if attachment.state() is not None:
                entered[:] = [stopwatch.mark(), len(stopwatch.sections)]

        # prepended, so that the time is taken before cut 0 removes rows
        handle = llm.register_forward_pre_hook(at_llm, prepend=True)
        try:
            with attachment.here():
                start = stopwatch.mark()
                out = self.lvlm.model(**self.inputs, use_cache=True, logits_to_keep=1)
                next_id = out.logits[:, -1].argmax(-1)
                end = stopwatch.mark()
                first = int(next_id)  # synchronises
                self._note(out.logits)
                attachment.check_logits()
                state = attachment.state()
                features = None if state is None else state.features
        finally:
            handle.remove()
        self.hint = OUT_OF_DISTRIBUTION if features is not None and self._is_odd(features) else None
        before, split = entered
        early, late = stopwatch.spent(0, split), stopwatch.spent(split)
        vision, prefill = stopwatch.ms(start, before) - early, stopwatch.ms(before, end) - late
        reduce = 0.0 if self.reducer is None else early + late  # of the baseline: what it costs to watch it
        if self.shared is not None:
            vision += self.shared.ms
            reduce += 0 if self.reducer is None else self.shared.reduction_ms(self.reducer.needs(self.lvlm.anatomy))
        cache = cache_out(out)
        return first, cache, (vision, reduce, prefill, kv_bytes(cache))

    def _is_odd(self, features: PerTile) -> bool:
        """Whether a picture is out of distribution: looked at once for all runs that share the encoding."""
        if self.shared is None:
            return any(map(self.lvlm.is_out_of_distribution, features))
        known = self.lvlm.vision_cache.out_of_distribution
        if self.shared not in known:
            known[self.shared] = any(map(self.lvlm.is_out_of_distribution, features))
        return known[self.shared]

    @torch.inference_mode()
    def _step(self, attachment: Attachment, cache: Any, last: int) -> tuple[int, float]:
        with attachment.here():
            start = self.stopwatch.mark()
            ids = torch.tensor([[last]], device=self.lvlm.device)
            out = self.lvlm.model(input_ids=ids, use_cache=True, **{CACHE: cache})
            next_id = out.logits[:, -1].argmax(-1)
            end = self.stopwatch.mark()
            found, ms = int(next_id), self.stopwatch.ms(start, end)
            self._note(out.logits)
            attachment.check_logits()
            return found, ms

    def _note(self, logits: Tensor) -> None:
        """Whether the token that these logits gave is unsure."""
        if self.below is not None:
            self.unsure = bool((margin(logits[:, -1]) < self.below).any())

    def _warm_up(self) -> None:
        """One untimed prefill for every new shape, because kernels are chosen and memory is mapped on first use.

        The key is the shapes of the pixels, the length of the prompt in steps of PROMPT_STEP tokens, the method, its
        signals and the layers of its cuts, but not its budgets.
        """
        reducer, anatomy = self.reducer, self.lvlm.anatomy
        method = reducer and (type(reducer), reducer.cut_layers(anatomy), reducer.needs(anatomy), reducer.needs_in_llm)
        steps = -(-self.inputs["input_ids"].shape[1] // PROMPT_STEP)
        key = (shapes_of(self.inputs.of_vision), steps, method, self.shared is None)
        if key in self.lvlm.warmed:
            return
        with self._attach() as attachment:
            self._prefill(attachment)
        self.stopwatch.sections.clear()
        self.lvlm.warmed.add(key)
