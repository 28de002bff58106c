"""Loaded models, whose turn it is, and small caches. Shared by all visitors; knows no widget.

Nothing of a visitor is kept here except, for a while, decoded pictures, what the vision encoder gave for them, and the
baseline's answers about them, keyed by a hash of the file's bytes: a moved slider then costs milliseconds, and the
same question about the same picture one run less.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from vscan_core.batched import BatchAnswer
from vscan_core.engine.preview import VisionPreview
from vscan_core.errors import InputError
from vscan_core.events import Answer
from vscan_core.media.videos import Video
from vscan_core.what_mattered import RegionsLeftOut, WhatMattered

from .devices import Device
from .engine import Engine
from .first_cut import FirstCut, first_cut, prefill_lengths
from .lru_cache import LRUCache
from .models import Models
from .quotas import FairUse
from .sources import Clip, OpenedSource, Source, decoded, digest_of
from .turn import Asked, Pair, PairStarts, TurnEvent, pairs_turn, single_turn, turn, two_words, without_refusals
from .visitors import Visits

if TYPE_CHECKING:
    from vscan_core import LVLM, Reducer

MAX_NEW_TOKENS = 64
KEPT_BASELINES = 64
ONLY_PICTURES = "What mattered can be asked about pictures, not about videos."
PREVIEW_QUESTION = "?"  # in place of one where the signals of a preview do not depend on it


class Session:
    """Everything that the page's handlers call.

    A `source` is the path of a file, or what `open` made of it: an event that needs it more than once opens it first.
    """

    def __init__(self, engine: Engine, default_model: str = "mini", fair: FairUse | None = None) -> None:
        self.visits = Visits(fair)
        self.engine = engine
        self.default_model = default_model
        self._devices: dict[str, Device] = {}
        self._lock = threading.Lock()
        self._opened: LRUCache[OpenedSource] = LRUCache(8)
        self._vision: LRUCache[VisionPreview] = LRUCache(8)
        self._baselines: LRUCache[Answer] = LRUCache(KEPT_BASELINES)
        self._prompts: LRUCache[int] = LRUCache(KEPT_BASELINES)  # lengths of prompts in tokens
        self.models = Models(engine, default_model, self.forget, self._warm_up)

    def model(self, name: str) -> LVLM:
        """The loaded model; the first visitor who asks for it waits until it is there."""
        return self.models.get(name)

    def device(self, name: str) -> Device:
        """The device on which a model lives."""
        return self._device_of(self.model(name))

    def _device_of(self, lvlm: LVLM) -> Device:
        place = str(lvlm.model.device)
        with self._lock:
            return self._devices.setdefault(place, Device(place))

    def _warm_up(self, lvlm: LVLM) -> None:
        with suppress(InputError):  # the device is busy or small: the first run warms up then
            self._device_of(lvlm).call(lambda: self.engine.warm_up(lvlm), patience_s=5)

    def forget(self) -> None:
        """Drop signals and baselines that were kept; their tensors live on a model's device."""
        self._vision.clear()
        self._baselines.clear()

    def open(self, source: Source) -> OpenedSource:
        """Read a file, hash it, and decode it unless its content is known; what is open already is returned as it is.

        Raises InputError if there is no file, or if it is not one that can be read.
        """
        if isinstance(source, OpenedSource):
            return source
        if not source:
            raise InputError("Please choose a picture first.")
        digest = digest_of(source)
        key = (digest, source.frames) if isinstance(source, Clip) else digest
        return self._opened.get(key, lambda: decoded(source, digest))

    def preview(
        self, model: str, source: Source, retention: float, method: str = "vscan", question: str = ""
    ) -> FirstCut:
        """The first cut, from cached signals; the vision encoder runs only for a new picture.

        question: Some methods compare it with the picture. Raises InputError if there is none for those.
        """
        opened = self.open(source)
        lvlm = self.model(model)
        reducer = self.engine.reducer(lvlm, method, retention)
        needs = reducer.needs(lvlm.anatomy)

        def look() -> VisionPreview:
            self.engine.encode(lvlm, self.engine.inputs(lvlm, opened.image, PREVIEW_QUESTION))
            return lvlm.preview(opened.image, needs, question)

        def run_encoder() -> VisionPreview:
            return self.device(model).call(look, patience_s=self.visits.fair.answer_s)

        asked = question if needs.joint else ""
        vision = self._vision.get((model, opened.digest, needs, asked), run_encoder)
        return first_cut(vision, reducer)

    def compare(
        self,
        model: str,
        source: Source,
        question: str,
        retention: float,
        method: str = "vscan",
        max_new_tokens: int = MAX_NEW_TOKENS,
        pairs_s: float = 0.0,
    ) -> Generator[TurnEvent | None, None, None]:
        """Baseline and reduced run, step by step; None while it waits for the device. Close it to stop.

        pairs_s: Seconds in which both are measured again, in pairs, up to the first token; not while others wait.
        Raises InputError, also if the model does not support the method.
        """
        reducer = self.engine.reducer(self.model(model), method, retention)
        asked = self._asked(model, source, question, max_new_tokens)
        reducer.needs(asked.lvlm.anatomy)  # what is missing is said before the baseline runs

        answer_s, device = self.visits.fair.answer_s, self.device(model)

        def both() -> Generator[TurnEvent, None, None]:
            makers = [lambda: reducer]
            runs = turn(self.engine, self._baselines, asked, makers, pairs_s, answer_s, lambda: device.wanted)
            return without_refusals(runs)

        return device.steps(both)

    def run_one(
        self, model: str, source: Source, question: str, reducer: Reducer | None, max_new_tokens: int
    ) -> Generator[TurnEvent | None, None, None]:
        """One run by itself, None: with all visual tokens; its steps are those of `compare`. Close it to stop."""
        asked, answer_s = self._asked(model, source, question, max_new_tokens), self.visits.fair.answer_s
        if reducer is not None:
            reducer.needs(asked.lvlm.anatomy)
        return self.device(model).steps(lambda: single_turn(self.engine, asked, reducer, answer_s))

    def pairs(
        self, model: str, source: Source, question: str, retention: float, method: str, pairs_s: float
    ) -> Generator[PairStarts | Pair | None, None, None]:
        """Measure both again in pairs, up to the first token; None while it waits for the device. Close it to stop."""
        reducer = self.engine.reducer(self.model(model), method, retention)
        asked = self._asked(model, source, question, MAX_NEW_TOKENS)
        return self.device(model).steps(lambda: pairs_turn(self.engine, asked, reducer, pairs_s))

    def leave_regions_out(
        self, model: str, source: Source, question: str
    ) -> Generator[RegionsLeftOut | WhatMattered | None, None, None]:
        """What mattered for the answer, step by step; None while it waits for the device. Close it to stop."""
        opened, lvlm = self.open(source), self.model(model)
        if isinstance(opened.image, Video):
            raise InputError(ONLY_PICTURES)
        picture = opened.image
        return self.device(model).steps(lambda: self.engine.leave_regions_out(lvlm, picture, question))

    def savings(
        self, model: str, source: Source, question: str, schedule: Mapping[int, int], tokens: int
    ) -> tuple[float, float]:
        """How many times fewer FLOPs, and how many times less KV cache, a prefill by this schedule takes, by formula.

        Raises InputError if the question or the picture is not accepted.
        """
        opened, lvlm = self.open(source), self.model(model)
        key = (model, opened.digest, question.strip())
        whole = self._prompts.get(key, lambda: self.prompt_tokens(model, opened, question))
        dense, reduced = prefill_lengths(lvlm.anatomy.text_layers, whole, tokens, schedule)
        flops = self.engine.prefill_flops(lvlm, dense) / self.engine.prefill_flops(lvlm, reduced)
        return flops, sum(dense) / sum(reduced)

    def prompt_tokens(self, model: str, source: Source, question: str) -> int:
        """The length of the whole prompt, with all visual tokens. Raises InputError as `savings` does."""
        lvlm, opened = self.model(model), self.open(source)
        return self.engine.prompt_tokens(lvlm, self.engine.inputs(lvlm, opened.asked_about, question))

    def probe(self, model: str, source: Source, question: str, patience_s: float) -> None:
        """Ask the baseline for two words, untimed, before any run that waits. Raises whatever goes wrong."""
        lvlm, opened = self.model(model), self.open(source)
        self.device(model).call(lambda: two_words(self.engine, lvlm, opened.asked_about, question), patience_s)

    def run_each(
        self, model: str, source: Source, question: str, makers: Sequence[Callable[[], Reducer]]
    ) -> Generator[TurnEvent | None, None, None]:
        """The baseline and these reducers in one turn; a refusal is reported in its place. Close it to stop."""
        asked = self._asked(model, source, question, MAX_NEW_TOKENS)
        answer_s = self.visits.fair.answer_s
        return self.device(model).steps(lambda: turn(self.engine, self._baselines, asked, makers, answer_s=answer_s))

    def ask(
        self, model: str, source: Source, question: str, reducer: Reducer | None, max_new_tokens: int = MAX_NEW_TOKENS
    ) -> Generator[BatchAnswer | None, None, None]:
        """One answer, None as reducer: the baseline's; nothing is measured. Raises InputError, also for a video."""
        return self.ask_many([self._asked(model, source, question, max_new_tokens)], reducer)

    def ask_many(self, asked: Sequence[Asked], reducer: Reducer | None) -> Generator[BatchAnswer | None, None, None]:
        """The answers to questions for one model and with one length limit, as one batch."""
        lvlm, pairs = asked[0].lvlm, [(one.image, one.question) for one in asked]
        made = partial(self.engine.answer_many, lvlm, pairs, reducer, asked[0].max_new_tokens)
        return self._device_of(lvlm).steps(lambda: (answer for answer in made()))

    def _asked(self, model: str, source: Source, question: str, max_new_tokens: int) -> Asked:
        opened = self.open(source)
        return Asked(model, self.model(model), opened.digest, opened.asked_about, question, max_new_tokens)
