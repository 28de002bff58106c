"""`answer` and `compare`: run a model and yield events, with every stage measured separately."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import partial

from vscan_core.engine.shared_vision import SharedVision
from vscan_core.errors import InputError
from vscan_core.events import Event
from vscan_core.lvlm import LVLM
from vscan_core.measure import memory_guard
from vscan_core.measured_run import MeasuredRun, method_key
from vscan_core.media.asked_about import AskedAbout
from vscan_core.prepared import PreparedInputs
from vscan_core.reducers import Reducer
from vscan_core.selection import Needs
from vscan_core.two_readings import two_readings
from vscan_core.vision_cache import union


def answer(
    lvlm: LVLM, image: AskedAbout, question: str, reducer: Reducer | None, *, max_new_tokens: int = 64
) -> Iterator[Event]:
    """Answer one question greedily, as a stream of events.

    The model runs only while the iterator is advanced; closing the iterator stops the computation. The first run of
    each input shape is preceded by an untimed warm-up.

    Args:
        lvlm: The model, from `load_model`.
        image: The picture or video, or a list of pictures in order; each picture is cut by itself.
        question: Plain text of at most 1000 characters.
        reducer: The method; None is the baseline, which keeps all visual tokens.
        max_new_tokens: The greatest length of the answer, in tokens; at least 1.

    Yields:
        One `Prefilled`, one `Token` for each new token, then `Done` with the finished `Answer`.

    Raises:
        InputError: The picture, the question or a setting is not accepted, or the model does not support the method.
        OutOfMemory: Memory ran out; what the run held has been freed.
    """
    yield from compare(lvlm, image, question, [reducer], max_new_tokens=max_new_tokens)


def compare(
    lvlm: LVLM,
    image: AskedAbout,
    question: str,
    reducers: Sequence[Reducer | None],
    *,
    max_new_tokens: int = 64,
    share_vision: bool = False,
) -> Iterator[Event]:
    """Answer the same question with several methods, one after another on the same device.

    Args:
        lvlm: The model, from `load_model`.
        image: The picture or video, or a list of pictures in order; each picture is cut by itself.
        question: Plain text of at most 1000 characters.
        reducers: The methods, in the order in which they run; None is the baseline.
        max_new_tokens: The greatest length of each answer, in tokens; at least 1.
        share_vision: Encode the picture once for all methods that do not change the vision encoder, and remember it
            (`lvlm.vision_cache`). Each run's `vision_ms` then holds the time of that one pass, and its `reduce_ms` that
            of the signals it uses, as if it had encoded the picture itself.

    Yields:
        The events of `answer` for each method in turn; an event's `run` is the index of its method in `reducers`.

    Raises:
        InputError: The picture, the question or a setting is not accepted, or the model does not support a method.
        OutOfMemory: Memory ran out; what the run held has been freed.
    """
    check_limit(max_new_tokens)
    inputs = lvlm.inputs(image, question)
    yield from compare_prepared(lvlm, inputs, reducers, max_new_tokens=max_new_tokens, share_vision=share_vision)


def compare_prepared(
    lvlm: LVLM,
    inputs: PreparedInputs,
    reducers: Sequence[Reducer | None],
    *,
    max_new_tokens: int = 64,
    share_vision: bool = False,
    shared: SharedVision | None = None,
) -> Generator[Event, None, None]:
    """The same as `compare` for what `lvlm.inputs` made of the picture and the question, with the same errors.

    shared: what `lvlm.encode` gave for these inputs; methods whose signals it has do not look for another encoding.
    """
    check_limit(max_new_tokens)
    needs = [Needs() if reducer is None else reducer.needs(lvlm.anatomy) for reducer in reducers]
    for place, reducer in enumerate(reducers):
        below = None if reducer is None else reducer.unsure_below
        with memory_guard(lvlm.device):
            known = shared if shared is not None and shared.covers(needs[place]) else None
            if known is None and (share_vision or below is not None) and not needs[place].blocks:
                known = lvlm.encode(inputs, union(needs if share_vision else [needs[place]]))
            start = partial(MeasuredRun, lvlm, inputs, place=place, limit=max_new_tokens, shared=known)
            if reducer is None or below is None:
                running = start(reducer=reducer).events()
            else:
                first = start(reducer=reducer.first_reading, below=below)
                running = two_readings(first, partial(start, reducer=None), method_key(reducer))
            with closing(running) as events:
                yield from events


def check_limit(max_new_tokens: int) -> None:
    """Raises InputError for a length of answers below 1."""
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens must be at least 1, but is {max_new_tokens}")
