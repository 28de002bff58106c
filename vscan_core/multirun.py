"""Several independent runs: a method that cannot run is reported as Refused, and the others continue."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from vscan_core.errors import InputError
from vscan_core.events import Event
from vscan_core.reducers import Reducer

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
