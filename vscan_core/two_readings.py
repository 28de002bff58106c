"""A measured run of a cascade: the first reading, and the second one if its answer is unsure.

Nobody sees a word that could still change: the first reading's events come when it is over, and only if it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace

from vscan_core.events import Answer, Cost, Done, Event, Prefilled, Timings, Token
from vscan_core.measured_run import MeasuredRun

READ_AGAIN = (
    "An answer from {few:.0f} visual tokens was unsure, so the question was read again with all {all:.0f}; tokens, "
    "times and operations are those of both readings."
)


def two_readings(first: MeasuredRun, second: Callable[[], MeasuredRun], method: str) -> Generator[Event, None, None]:
    """Events of one run of `method`; `second` makes the run with all visual tokens, with the same encoding."""
    with closing(first.events()) as running:
        events = list(running)
    *_, done = events
    assert isinstance(done, Done)
    if not first.unsure:
        timings = replace(done.answer.timings, ttft_ms=done.answer.timings.total_ms)  # nothing was shown before
        for event in events[:-1]:
            yield replace(event, method=method) if isinstance(event, Prefilled) else event
        yield replace(done, answer=replace(done.answer, timings=timings, method=method))
        return
    with closing(second().events()) as running:
        for event in running:
            match event:
                case Prefilled():
                    yield replace(event, method=method, trace=event.trace.after(done.answer.trace))
                case Token():
                    yield event
                case Done():
                    yield replace(event, answer=_joined(done.answer, event.answer, method))


def _joined(first: Answer, second: Answer, method: str) -> Answer:
    """The second reading's answer, at the price of both."""
    note = READ_AGAIN.format(few=first.cost.visual_tokens, all=second.cost.visual_tokens)
    return replace(
        second,
        trace=second.trace.after(first.trace),
        timings=_one_after_the_other(first, second),
        cost=_both(first.cost, second.cost),
        method=method,
        notes=(*second.notes, note),
    )


def _one_after_the_other(first: Answer, second: Answer) -> Timings:
    one, two = first.timings, second.timings
    own = two.vision_ms - two.vision_shared_ms  # the picture was encoded once
    steps = [
        (each.decode_ms_per_token or 0.0, len(answer.token_ids) - 1) for each, answer in ((one, first), (two, second))
    ]
    count = sum(number for _, number in steps)
    return Timings(
        vision_ms=one.vision_ms + own,
        reduce_ms=one.reduce_ms + two.reduce_ms,
        prefill_ms=one.prefill_ms + two.prefill_ms,
        ttft_ms=one.total_ms + two.ttft_ms - two.vision_shared_ms,
        decode_ms_per_token=sum(ms * number for ms, number in steps) / count if count else None,
        total_ms=one.total_ms + two.total_ms - two.vision_shared_ms,
        vision_shared_ms=one.vision_shared_ms,
    )


def _both(one: Cost, two: Cost) -> Cost:
    """Work of both, memory of the larger one."""
    peaks = [peak for peak in (one.peak_bytes, two.peak_bytes) if peak is not None]
    return Cost(
        visual_tokens=one.visual_tokens + two.visual_tokens,
        tflops=one.tflops + two.tflops,
        tflops_full=one.tflops_full + two.tflops_full,
        kv_bytes=max(one.kv_bytes, two.kv_bytes),
        peak_bytes=max(peaks, default=None),
        survey_ratio=_sum(one.survey_ratio, two.survey_ratio),
        survey_ratio_printed=_sum(one.survey_ratio_printed, two.survey_ratio_printed),
    )


def _sum(one: float | None, two: float | None) -> float | None:
    return None if one is None or two is None else one + two
