"""One turn of a device: everything that a press of Run asks of it, with nothing computed twice.

The picture is prepared and encoded once for all runs, and the baseline's answer is taken from an earlier turn that
asked the same question about the same picture.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from vscan_core.errors import InputError
from vscan_core.events import Answer, Done, Event, Prefilled, Timings, Token
from vscan_core.media.asked_about import AskedAbout
from vscan_core.multirun import Make, Refused, run_each

from .engine import Engine
from .inputs import check_visible
from .lru_cache import LRUCache

if TYPE_CHECKING:
    from vscan_core import LVLM, Reducer
    from vscan_core.multirun import Encoding
    from vscan_core.prepared import PreparedInputs

MOST_PAIRS = 7  # odd, so that the median is one of them
ANSWER_S = 300.0  # seconds; see FairUse
TOO_LONG = "This answer took longer than {seconds:.0f} s and was ended, so that others get their turn."


@dataclass(frozen=True)
class KeptDone(Done):
    """The baseline's answer is that of an earlier turn, with its figures as they were measured then."""


@dataclass(frozen=True)
class PairStarts:
    """The baseline and the method are about to be measured once more."""


@dataclass(frozen=True)
class Pair:
    """Both runs up to the first token, one right after the other, in alternating order."""

    baseline: Timings
    reduced: Timings


@dataclass(frozen=True)
class OthersWait:
    """Measuring in pairs ends here, or does not begin, since others wait for this device."""


@dataclass(frozen=True)
class TurnOver:
    """All runs of a turn have ended."""

    ms: float  # from its beginning, without the time that it waited for others
    encoded: bool  # whether the vision encoder ran in it: otherwise the picture had been encoded before


TurnEvent: TypeAlias = Event | Refused | PairStarts | Pair | OthersWait | TurnOver
BaselineKey: TypeAlias = tuple[str, str, str, int]  # name of the model, digest of the picture, question, length limit


@dataclass(frozen=True)
class Asked:
    """What all runs of a turn are asked. Raises InputError for a question in which there is nothing to see."""

    model: str
    lvlm: LVLM
    digest: str
    image: AskedAbout
    question: str
    max_new_tokens: int

    def __post_init__(self) -> None:
        check_visible(self.question)

    @property
    def key(self) -> BaselineKey:
        """What the baseline's answer depends on."""
        return self.model, self.digest, self.question.strip(), self.max_new_tokens


def turn(
    engine: Engine,
    baselines: LRUCache[Answer],
    asked: Asked,
    makers: Sequence[Make],
    pairs_s: float = 0.0,
    answer_s: float = ANSWER_S,
    wanted: Callable[[], bool] = lambda: False,
) -> Generator[TurnEvent, None, None]:
    """The baseline and the makers' methods, one after another; the baseline is run 0. Closing it stops the run.

    Only answers that are complete are kept. `pairs_s`: seconds in which the baseline and the first method are measured
    again in pairs, unless the device is `wanted` by others. `answer_s`: seconds that each answer may take. Raises
    InputError if the question or the picture is not accepted, or if an answer takes longer.
    """
    start = time.perf_counter()
    inputs = engine.inputs(asked.lvlm, asked.image, asked.question)
    encoding = engine.encode(asked.lvlm, inputs)
    kept = None if encoding.new else baselines.find(asked.key)  # so that all runs show the time of one encoding

    def run(reducer: Reducer | None) -> Generator[Event, None, None]:
        if reducer is None and kept is not None:
            return _kept_run(kept)
        return engine.run(asked.lvlm, inputs, encoding, reducer, asked.max_new_tokens)

    spent_ms, begun = 0.0, start
    for event in run_each(run, [lambda: None, *makers]):
        if isinstance(event, Done):
            spent_ms += event.answer.timings.prefill_and_reduce_ms
            if event.run == 0 and kept is None:
                baselines.put(asked.key, event.answer)
        yield event
        begun = _within(answer_s, begun, isinstance(event, Done | Refused))
    over = TurnOver(1000 * (time.perf_counter() - start), encoding.new)
    if spent_ms < 1000 * pairs_s:
        for pair in _pairs(engine, asked, inputs, encoding, makers[0](), pairs_s):
            if wanted():
                yield OthersWait()
                break
            yield pair
    yield over


def single_turn(
    engine: Engine, asked: Asked, reducer: Reducer | None, answer_s: float = ANSWER_S
) -> Generator[Event, None, None]:
    """One run without another to compare it with; reducer None: with all visual tokens. Closing it stops the run.

    Raises InputError if question, picture or method is not accepted, or if it takes longer than `answer_s` seconds.
    """
    begun = time.perf_counter()
    inputs = engine.inputs(asked.lvlm, asked.image, asked.question)
    encoding = engine.encode(asked.lvlm, inputs)
    with closing(engine.run(asked.lvlm, inputs, encoding, reducer, asked.max_new_tokens)) as events:
        for event in events:
            yield event
            begun = _within(answer_s, begun, isinstance(event, Done))


def without_refusals(events: Generator[TurnEvent, None, None]) -> Generator[TurnEvent, None, None]:
    """The same events; a run that is refused raises its InputError."""
    with closing(events):
        for event in events:
            if isinstance(event, Refused):
                raise event.reason
            yield event


def _within(answer_s: float, begun: float, over: bool) -> float:
    """When the answer under way began; `over`: the next one begins now. Raises InputError if it takes too long."""
    now = time.perf_counter()
    if over:
        return now
    if now - begun > answer_s:
        raise InputError(TOO_LONG.format(seconds=answer_s))
    return begun


def pairs_turn(
    engine: Engine, asked: Asked, reducer: Reducer, pairs_s: float
) -> Generator[PairStarts | Pair, None, None]:
    """Pairs alone, for an answer that is there already; at least one. Closing it stops the measurement."""
    inputs = engine.inputs(asked.lvlm, asked.image, asked.question)
    yield from _pairs(engine, asked, inputs, engine.encode(asked.lvlm, inputs), reducer, pairs_s)


def _pairs(
    engine: Engine, asked: Asked, inputs: PreparedInputs, encoding: Encoding, reducer: Reducer | None, pairs_s: float
) -> Generator[PairStarts | Pair, None, None]:
    """As many as are expected to take `pairs_s` seconds in all, but at least one and at most MOST_PAIRS."""
    begun = time.perf_counter()
    # the first word of a cascade is known when its answer is complete
    whole = asked.max_new_tokens if reducer is not None and reducer.unsure_below is not None else 1
    for number in range(MOST_PAIRS):
        spent = time.perf_counter() - begun
        if number and spent * (number + 1) / number > pairs_s:
            break
        timings: dict[bool, Timings] = {}
        for is_baseline in (True, False) if number % 2 else (False, True):
            yield PairStarts()
            one = None if is_baseline else reducer
            for event in engine.run(asked.lvlm, inputs, encoding, one, 1 if is_baseline else whole):
                if isinstance(event, Done):
                    timings[is_baseline] = event.answer.timings
        yield Pair(timings[True], timings[False])


def _kept_run(answer: Answer) -> Generator[Event, None, None]:
    yield Prefilled(0, answer.method, answer.trace)
    yield Token(0, answer.text)
    yield KeptDone(0, answer)


def two_words(engine: Engine, lvlm: LVLM, image: AskedAbout, question: str) -> None:
    """The first two tokens of the baseline's answer, which nobody reads. Raises whatever goes wrong."""
    inputs = engine.inputs(lvlm, image, question)
    for _ in engine.run(lvlm, inputs, engine.encode(lvlm, inputs), None, 2):
        pass
