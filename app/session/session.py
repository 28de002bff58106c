"""Loaded models, whose turn it is, and small caches. Shared by all visitors; knows no widget.

Nothing of a visitor is kept here except, for a while, decoded pictures and their vision signals, keyed by a hash of
the file's bytes: the same picture asked about again, or a moved slider, then costs milliseconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from vscan_core.engine.preview import VisionPreview
from vscan_core.errors import InputError
from vscan_core.events import Event
from vscan_core.media.images import open_image
from vscan_core.media.videos import open_video
from vscan_core.multirun import Refused, run_each
from vscan_core.trace import ImageTrace

from .devices import Device
from .engine import Engine
from .lru_cache import LRUCache
from .models import Models
from .sources import Clip, OpenedSource, Source, digest_of

if TYPE_CHECKING:
    from vscan_core import LVLM, Reducer

MAX_NEW_TOKENS = 64


@dataclass(frozen=True)
class FirstCut:
    """The first cut of a reducer on a picture, without the language model."""

    trace: ImageTrace
    boxes: Tensor  # (tokens, 4) on the CPU, in pixels of the picture
    schedule: dict[int, int]  # {layer: visual tokens of the picture that enter from there on}


class Session:
    """Everything that the page's handlers call.

    A `source` is the path of a file, or what `open` made of it: an event that needs it more than once opens it first.
    """

    def __init__(self, engine: Engine, default_model: str = "mini") -> None:
        self.engine = engine
        self.default_model = default_model
        self._devices: dict[str, Device] = {}
        self._lock = threading.Lock()
        self._opened: LRUCache[OpenedSource] = LRUCache(8)
        self._vision: LRUCache[VisionPreview] = LRUCache(8)
        self.models = Models(engine, default_model, self._vision.clear)  # its signals live on a model's device

    def model(self, name: str) -> LVLM:
        """The loaded model; the first visitor who asks for it waits until it is there."""
        return self.models.get(name)

    def device(self, name: str) -> Device:
        """The device on which a model lives."""
        place = str(self.model(name).model.device)
        with self._lock:
            return self._devices.setdefault(place, Device(place))

    def open(self, source: Source) -> OpenedSource:
        """Read a file, hash it, and decode it unless its content is known; what is open already is returned as it is.

        Raises InputError if there is no file, or if it is not one that can be read.
        """
        if isinstance(source, OpenedSource):
            return source
        if not source:
            raise InputError("Please choose a picture first.")
        digest = digest_of(source)
        if isinstance(source, Clip):
            key, clip = (digest, source.frames), source
            return self._opened.get(key, lambda: OpenedSource(digest, open_video(clip.path, clip.frames)))
        return self._opened.get(digest, lambda: OpenedSource(digest, open_image(source)))

    def preview(self, model: str, source: Source, retention: float, method: str = "vscan") -> FirstCut:
        """The first cut, from cached signals; the vision encoder runs only for a new picture."""
        opened = self.open(source)
        reducer = self.engine.method(method)(retention)
        lvlm = self.model(model)
        needs = reducer.needs(lvlm.anatomy)

        def run_encoder() -> VisionPreview:
            return self.device(model).call(lambda: lvlm.preview(opened.image, needs), patience_s=20)

        vision = self._vision.get((model, opened.digest, needs), run_encoder)
        trace = vision.trace(reducer)
        per_tile, tiles = trace.budget
        schedule = reducer.schedule(per_tile, lvlm.anatomy, tiles)
        if 0 in schedule:  # planned per tile; newline tokens stay, and padding was never there
            schedule[0] = len(trace.kept)
        return FirstCut(trace, vision.boxes.cpu(), schedule)

    def compare(
        self,
        model: str,
        source: Source,
        question: str,
        retention: float,
        method: str = "vscan",
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> Generator[Event | None, None, None]:
        """Baseline and reduced run, step by step; None while it waits for the device. Close it to stop."""
        reducer = self.engine.method(method)(retention)
        opened = self.open(source)
        lvlm = self.model(model)
        return self.device(model).steps(
            lambda: self.engine.compare(lvlm, opened.image, question, [None, reducer], max_new_tokens)
        )

    def run_each(
        self, model: str, source: Source, question: str, makers: Sequence[Callable[[], Reducer]]
    ) -> Generator[Event | Refused | None, None, None]:
        """The baseline and these reducers in one turn; a refusal is reported in its place. Close it to stop."""
        opened = self.open(source)
        lvlm = self.model(model)

        def run(reducer: Reducer | None) -> Generator[Event, None, None]:
            return self.engine.compare(lvlm, opened.image, question, [reducer], MAX_NEW_TOKENS)

        return self.device(model).steps(lambda: run_each(run, [lambda: None, *makers]))
