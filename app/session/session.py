"""Loaded models, whose turn it is, and small caches. Shared by all visitors; knows no widget.

Nothing of a visitor is kept here except, for a while, decoded pictures and their vision signals, keyed by a hash of
the file's bytes: the same picture asked about again, or a moved slider, then costs milliseconds.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from PIL import Image
from torch import Tensor

from vscan_core.budget import check_retention
from vscan_core.draw import overlay
from vscan_core.engine.preview import VisionPreview
from vscan_core.errors import InputError
from vscan_core.events import Event
from vscan_core.media.images import open_image
from vscan_core.media.videos import Video, open_video
from vscan_core.multirun import Refused, run_each
from vscan_core.trace import ImageTrace

from .clip import Clip
from .devices import Device
from .engine import Engine
from .models import Models

MAX_NEW_TOKENS = 64
NO_PICTURE = "Please choose a picture first."

T = TypeVar("T")


class Recent(Generic[T]):
    """The `bound` most recently used values, by key."""

    def __init__(self, bound: int) -> None:
        self._values: OrderedDict[Any, T] = OrderedDict()
        self._bound = bound
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], T]) -> T:
        """The value of `key`, made now if it is not there. Two visitors may make the same value at once."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._bound:
                self._values.popitem(last=False)
        return value

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._values.clear()

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class Picture:
    """An opened picture and its copy at drawing size; or a video and its first frame."""

    digest: str
    image: Image.Image | Video
    canvas: Image.Image


@dataclass(frozen=True)
class Preview:
    """The first cut of a reducer on a picture, without the language model."""

    trace: ImageTrace
    boxes: Tensor
    schedule: dict[int, int]  # {layer: visual tokens of the picture that enter from there on}


class Session:
    """Everything that the page's handlers call."""

    def __init__(self, engine: Engine, default_model: str = "mini") -> None:
        self.engine = engine
        self.default_model = default_model
        self._devices: dict[str, Device] = {}
        self._guard = threading.Lock()
        self._pictures: Recent[Picture] = Recent(8)
        self._seen: Recent[VisionPreview] = Recent(8)
        self.models = Models(engine, default_model, self._seen.clear)  # what was seen lives on a model's device

    def model(self, name: str) -> Any:
        """The loaded model; the first visitor who asks for it waits until it is there."""
        return self.models.get(name)

    def device(self, name: str) -> Device:
        """The device on which a model lives."""
        place = str(self.model(name).model.device)
        with self._guard:
            return self._devices.setdefault(place, Device(place))

    def picture(self, path: str | Clip | None) -> Picture:
        """Open a picture or video file, or find it opened."""
        if not path:
            raise InputError(NO_PICTURE)
        digest = digest_of(path)
        return self._pictures.get((digest, path if isinstance(path, Clip) else None), lambda: _opened(path, digest))

    def schedule(self, model: str, retention: float, tokens: int, method: str = "vscan") -> dict[int, int]:
        """{layer: visual tokens from there on} that a retention stands for."""
        schedule: dict[int, int] = self.engine.reducer(method, retention).schedule(tokens, self.model(model).anatomy)
        return schedule

    def preview(self, model: str, path: str | Clip | None, retention: float, method: str = "vscan") -> Preview:
        """The first cut, from cached signals; the vision encoder runs only for a new picture."""
        picture = self.picture(path)
        reducer = self.engine.reducer(method, retention)
        lvlm = self.model(model)
        needs = reducer.needs(lvlm.anatomy)

        def work() -> VisionPreview:
            look: VisionPreview = lvlm.preview(picture.image, needs)
            return look

        look = self._seen.get((model, picture.digest, needs), lambda: self.device(model).call(work, patience_s=20))
        trace = look.trace(reducer)
        per_tile, tiles = trace.budget
        schedule = reducer.schedule(per_tile, lvlm.anatomy, tiles)
        if 0 in schedule:  # planned per tile; newline tokens stay, and padding was never there
            schedule[0] = len(trace.kept)
        return Preview(trace, look.boxes.cpu(), schedule)

    def compare(
        self,
        model: str,
        path: str | Clip | None,
        question: str,
        retention: float,
        method: str = "vscan",
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> Generator[Event | None, None, None]:
        """Baseline and reduced run, step by step; None while it waits for the device. Close it to stop."""
        reducer = self.engine.reducer(method, retention)
        picture = self.picture(path)
        lvlm = self.model(model)
        return self.device(model).steps(
            lambda: self.engine.compare(lvlm, picture.image, question, [None, reducer], max_new_tokens)
        )

    def arena(
        self, model: str, path: str | Clip | None, question: str, retention: float, methods: Sequence[str]
    ) -> Generator[Event | Refused | None, None, None]:
        """Baseline and every method in one turn; a method that refuses is told in its place. Close it to stop."""
        known = self.engine.methods()
        if not methods:
            raise InputError("Please choose at least one method.")
        if unknown := [name for name in methods if name not in known]:
            raise InputError(f"There is no method {unknown[0][:40]!r}; choose from: {', '.join(known)}.")
        check_retention(retention)
        makers = [functools.partial(self.engine.reducer, name, retention) for name in methods]
        return self.series(model, path, question, makers)

    def series(
        self, model: str, path: str | None, question: str, makers: Sequence[Callable[[], Any]]
    ) -> Generator[Event | Refused | None, None, None]:
        """The baseline and these reducers in one turn; a refusal is told in its place. Close it to stop."""
        picture = self.picture(path)
        lvlm = self.model(model)

        def run(reducer: Any) -> Generator[Event, None, None]:
            return self.engine.compare(lvlm, picture.image, question, [reducer], MAX_NEW_TOKENS)

        return self.device(model).steps(lambda: run_each(run, [lambda: None, *makers]))


def digest_of(path: str | Clip) -> str:
    """A hash of a file's bytes: the same picture has the same, whoever sent it."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        kind = "video" if isinstance(path, Clip) else "picture"
        raise InputError(f"This {kind} is no longer on the server; please choose it again.") from None


def _opened(path: str | Clip, digest: str) -> Picture:
    if isinstance(path, Clip):
        video = open_video(path.path, path.frames)
        return Picture(digest, video, video.frames[0])
    image = open_image(path)
    return Picture(digest, image, overlay.canvas(image))
