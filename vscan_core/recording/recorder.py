"""Make a recording: one full run of every method, then repeated prefills that take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from vscan_core.catalog import is_random
from vscan_core.errors import InputError
from vscan_core.events import Answer, Done, Timings, Token
from vscan_core.inference import check_limit, compare_prepared
from vscan_core.lvlm import LVLM
from vscan_core.media.images import as_rgb
from vscan_core.prepared import PreparedInputs
from vscan_core.recording.recorded import REPEATED_TIMES, RecordedRun, Recording
from vscan_core.reducers import Reducer
from vscan_core.trace import Trace, View

ROUNDS = 5


def record(
    lvlm: LVLM,
    image: Image.Image,
    question: str,
    reducers: Sequence[Reducer],
    *,
    rounds: int = ROUNDS,
    max_new_tokens: int = 64,
    facts: Mapping[str, Any] | None = None,
    note: str = "",
    now: Callable[[], float] = time.perf_counter,
) -> Recording:
    """Run the baseline and these methods, and keep everything that a page or a report shows of them.

    Every run encodes the picture itself. After the full runs, each of `rounds` rounds runs all methods up to the first
    token, in alternating order.

    Args:
        facts: Where the figures come from, such as `vscan_core.bench.record.provenance` gives.
        note: A sentence for the reader.
        now: A clock in seconds, for the times of tokens.

    Raises:
        InputError: The picture, the question or a setting is not accepted, or the model does not support a method.
        OutOfMemory: Memory ran out.
    """
    check_limit(max_new_tokens)
    if rounds < 1:
        raise InputError(f"rounds must be at least 1, but is {rounds}")
    if not isinstance(image, Image.Image):
        raise InputError("Only runs about one picture can be recorded, not about a video or several pictures.")
    inputs, methods = lvlm.inputs(image, question), [None, *reducers]
    full = [_full_run(lvlm, inputs, method, max_new_tokens, now) for method in methods]
    times: list[dict[str, list[float]]] = [{name: [] for name in REPEATED_TIMES} for _ in methods]
    # the first token of a cascade is known when its answer is complete
    limits = [max_new_tokens if method is not None and method.unsure_below is not None else 1 for method in methods]
    for number in range(rounds):
        order = range(len(methods)) if number % 2 == 0 else reversed(range(len(methods)))
        for place in order:
            *_, done = compare_prepared(lvlm, inputs, [methods[place]], max_new_tokens=limits[place])
            assert isinstance(done, Done)
            for name in REPEATED_TIMES:
                times[place][name].append(getattr(done.answer.timings, name))
    picture = as_rgb(image)
    runs = [
        RecordedRun(
            **_named(method),
            answer=_settled(answer, repeats, picture),
            token_ms=tuple(token_ms),
            texts=tuple(texts),
            repeats={name: tuple(values) for name, values in repeats.items()},
        )
        for method, (answer, token_ms, texts), repeats in zip(methods, full, times, strict=True)
    ]
    return Recording(picture, lvlm.name, question, is_random(lvlm.name), tuple(runs), dict(facts or {}), note)


def from_answers(
    lvlm_name: str,
    image: Image.Image,
    question: str,
    answers: Sequence[Answer],
    reducers: Sequence[Reducer | None],
    *,
    facts: Mapping[str, Any] | None = None,
    note: str = "",
) -> Recording:
    """A recording of runs that have ended, each measured once, the baseline (None) first; times of tokens are unknown.

    image: The picture that they were asked about. Raises InputError if it is damaged.
    """
    picture = as_rgb(image)
    runs = [
        RecordedRun(
            **_named(method),
            answer=replace(answer, trace=_in_pixels_of(picture, answer.trace)),
            token_ms=(),
            texts=(),
            repeats={name: (getattr(answer.timings, name),) for name in REPEATED_TIMES},
        )
        for method, answer in zip(reducers, answers, strict=True)
    ]
    return Recording(picture, lvlm_name, question, is_random(lvlm_name), tuple(runs), dict(facts or {}), note)


def _named(method: Reducer | None) -> dict[str, Any]:
    """What a RecordedRun says of its method."""
    if method is None:
        return {"title": "Baseline", "settings": "", "retention": 1.0}
    return {"title": method.title, "settings": repr(method), "retention": method.retention}


def _full_run(
    lvlm: LVLM, inputs: PreparedInputs, method: Reducer | None, max_new_tokens: int, now: Callable[[], float]
) -> tuple[Answer, list[float], list[str]]:
    """The answer; when each token came, from the start of the run, in milliseconds; the text at each token."""
    arrived: list[float] = []
    texts: list[str] = []
    for event in compare_prepared(lvlm, inputs, [method], max_new_tokens=max_new_tokens):
        if isinstance(event, Token):
            arrived.append(now())
            texts.append(event.text)
        if isinstance(event, Done):
            answer = event.answer
    first = answer.timings.ttft_ms  # of the clock, only differences: it also ran during the warm-up
    return answer, [first + 1000 * (moment - arrived[0]) for moment in arrived], texts


def _settled(answer: Answer, repeats: Mapping[str, Sequence[float]], picture: Image.Image) -> Answer:
    """The answer with medians of what was repeated, and its boxes in pixels of the recorded picture."""
    old = answer.timings
    vision, reduce, prefill, first = (statistics.median(repeats[name]) for name in REPEATED_TIMES)
    total = first + old.total_ms - old.ttft_ms
    timings = Timings(vision, reduce, prefill, first, old.decode_ms_per_token, total)
    return replace(answer, timings=timings, trace=_in_pixels_of(picture, answer.trace))


def _in_pixels_of(picture: Image.Image, trace: Trace) -> Trace:
    """The trace on the CPU, with boxes in pixels of `picture`, which may be smaller than the original."""
    images = []
    for number, image in enumerate(trace.images):
        width, height = image.view.size or picture.size
        scale = trace.boxes(number).new_tensor([picture.width / width, picture.height / height] * 2)
        view = View(size=picture.size, cut=image.view.cut)
        images.append(replace(image, boxes=trace.boxes(number).cpu() * scale.cpu(), view=view))
    return replace(trace, images=images, _visual=list(trace.visual_tokens_per_layer))
