"""One turn of a device: everything that a press of Run asks of it, with nothing computed twice.

The picture is prepared and encoded once for all runs, and the baseline's answer is taken from an earlier turn that
asked the same question about the same picture.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from PIL import Image

from vscan_core.events import Answer, Done, Event, Prefilled, Token
from vscan_core.media.videos import Video
from vscan_core.multirun import Make, Refused, run_each

from .engine import Engine
from .lru_cache import LRUCache

if TYPE_CHECKING:
    from vscan_core import LVLM, Reducer


@dataclass(frozen=True)
class KeptDone(Done):
    """The baseline's answer is that of an earlier turn, with its figures as they were measured then."""


@dataclass(frozen=True)
class TurnOver:
    """All runs of a turn have ended."""

    ms: float  # from its beginning, without the time that it waited for others
    encoded: bool  # whether the vision encoder ran in it: otherwise the picture had been encoded before


TurnEvent: TypeAlias = Event | Refused | TurnOver
BaselineKey: TypeAlias = tuple[str, str, str, int]  # name of the model, digest of the picture, question, length limit


@dataclass(frozen=True)
class Asked:
    """What all runs of a turn are asked."""

    model: str
    lvlm: LVLM
    digest: str
    image: Image.Image | Video
    question: str
    max_new_tokens: int

    @property
    def key(self) -> BaselineKey:
        """What the baseline's answer depends on."""
        return self.model, self.digest, self.question.strip(), self.max_new_tokens


def turn(
    engine: Engine, baselines: LRUCache[Answer], asked: Asked, makers: Sequence[Make]
) -> Generator[TurnEvent, None, None]:
    """The baseline and the makers' methods, one after another; the baseline is run 0. Closing it stops the run.

    Only answers that are complete are kept. Raises InputError if the question or the picture is not accepted.
    """
    start = time.perf_counter()
    inputs = engine.inputs(asked.lvlm, asked.image, asked.question)
    encoding = engine.encode(asked.lvlm, inputs)
    kept = None if encoding.new else baselines.find(asked.key)  # so that all runs show the time of one encoding

    def run(reducer: Reducer | None) -> Generator[Event, None, None]:
        if reducer is None and kept is not None:
            return _kept_run(kept)
        return engine.run(asked.lvlm, inputs, encoding, reducer, asked.max_new_tokens)

    for event in run_each(run, [lambda: None, *makers]):
        if isinstance(event, Done) and event.run == 0 and kept is None:
            baselines.put(asked.key, event.answer)
        yield event
    yield TurnOver(1000 * (time.perf_counter() - start), encoding.new)


def _kept_run(answer: Answer) -> Generator[Event, None, None]:
    yield Prefilled(0, answer.method, answer.trace)
    yield Token(0, answer.text)
    yield KeptDone(0, answer)
