"""What the demo asks of the core library, in one small interface, so that tests can put a fake behind the page."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Protocol

from PIL import Image

import vscan_core as vc
from vscan_core import LVLM, Event, InputError, Reducer, Video, catalog
from vscan_core.catalog import ModelCard
from vscan_core.families import FAMILIES


class Engine(Protocol):
    """Models, methods and runs."""

    def models(self) -> Mapping[str, ModelCard]:
        """Models on offer by name."""

    def unavailable(self, name: str) -> str | None:
        """Why a model cannot run here, in one sentence; None if it can."""

    def frames(self, name: str) -> int:
        """How many frames of a video a model takes; 0: it takes pictures only."""

    def load(self, name: str) -> LVLM:
        """Load a model. Raises InputError if it is not on offer or does not fit."""

    def methods(self) -> Mapping[str, type[Reducer]]:
        """Methods on offer by name; their `title` and `summary` are what the page says about them."""

    def reducer(self, method: str, retention: float) -> Reducer:
        """The method at this retention. Raises InputError."""

    def compare(
        self,
        lvlm: LVLM,
        image: Image.Image | Video,
        question: str,
        reducers: Sequence[Reducer | None],
        max_new_tokens: int,
    ) -> Generator[Event, None, None]:
        """Events of the runs, one run after another; nothing is computed between two `next`."""


class CoreEngine:
    """The real thing: vscan_core."""

    def models(self) -> Mapping[str, ModelCard]:
        """See Engine."""
        return catalog.MODELS

    def unavailable(self, name: str) -> str | None:
        """See Engine."""
        return catalog.unavailable(name)

    def frames(self, name: str) -> int:
        """See Engine; known without loading it."""
        card = self.models().get(name)
        return FAMILIES[card.family].frames if card else 0

    def load(self, name: str) -> LVLM:
        """See Engine; only models of the catalog: a visitor must not make the server fetch anything by name."""
        if name not in self.models():
            raise InputError("There is no such model in this demo.")
        if reason := self.unavailable(name):
            raise InputError(reason)
        return vc.load_model(name)

    def methods(self) -> Mapping[str, type[Reducer]]:
        """See Engine."""
        return vc.REDUCERS

    def reducer(self, method: str, retention: float) -> Reducer:
        """See Engine."""
        if method not in vc.REDUCERS:
            raise InputError(f"There is no such method; choose one of: {', '.join(vc.REDUCERS)}.")
        return vc.REDUCERS[method](retention)

    def compare(
        self,
        lvlm: LVLM,
        image: Image.Image | Video,
        question: str,
        reducers: Sequence[Reducer | None],
        max_new_tokens: int,
    ) -> Generator[Event, None, None]:
        """See Engine."""
        yield from vc.compare(lvlm, image, question, reducers, max_new_tokens=max_new_tokens)
