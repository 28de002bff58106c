"""Several runs on one picture: it is encoded once for all of them; a method that cannot run is reported as Refused."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace

from vscan_core.engine.shared_vision import SharedVision
from vscan_core.errors import InputError
from vscan_core.events import Event
from vscan_core.lvlm import LVLM
from vscan_core.measure import memory_guard
from vscan_core.prepared import PreparedInputs
from vscan_core.reducers import Reducer
from vscan_core.selection import Needs
from vscan_core.vision_cache import union

Make = Callable[[], Reducer | None]  # None is the baseline
StartRun = Callable[[Reducer | None], Generator[Event, None, None]]


@dataclass(frozen=True)
class Refused:
    """A run that is not possible: the method cannot reach this retention, or the model lacks what it needs."""

    run: int
    reason: InputError


def run_each(run: StartRun, makers: Sequence[Make]) -> Generator[Event | Refused, None, None]:
    """Call `run` with each maker's reducer in turn; an event's `run` is the index of its maker.

    An InputError is yielded as Refused, except that of the first run, the baseline, which concerns all runs and is
    raised. Closing the generator stops the current run.
    """
    for place, make in enumerate(makers):
        try:
            with closing(run(make())) as events:
                for event in events:
                    yield replace(event, run=place)
        except InputError as reason:
            if place == 0:
                raise
            yield Refused(place, reason)


@dataclass(frozen=True)
class Encoding:
    """What the vision encoder gave for all runs on one picture."""

    shared: SharedVision
    new: bool  # whether the encoder ran for it; otherwise it was in `lvlm.vision_cache`


def encode_for(lvlm: LVLM, inputs: PreparedInputs, makers: Sequence[Make]) -> Encoding:
    """Encode the pixels in `inputs` with the signals of all these methods, so that none of their runs has to.

    Raises OutOfMemory.
    """
    before = lvlm.vision_cache.encodings
    with memory_guard(lvlm.device):
        shared = lvlm.encode(inputs, needs_of(lvlm, makers))
    return Encoding(shared, lvlm.vision_cache.encodings > before)


def needs_of(lvlm: LVLM, makers: Sequence[Make]) -> Needs:
    """The signals of all these methods; those that the model or a setting rules out are left out."""
    found = []
    for make in makers:
        with suppress(Exception):  # of whatever kind, it comes again in the method's own run, and there alone
            reducer = make()
            needs = Needs() if reducer is None else reducer.needs(lvlm.anatomy)
            lvlm.family.check(needs)
            if all(0 <= layer < lvlm.anatomy.vision_layers for layer in (*needs.cls_attention, *needs.received)):
                found.append(needs)
    return union(found)
