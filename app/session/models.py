"""Loaded models: the default one and the latest other one, each loaded once; knows no widget."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from vscan_core.errors import InputError
from vscan_core.measure import release_memory

from .engine import Engine

if TYPE_CHECKING:
    from vscan_core import LVLM


class Models:
    """A model that is there is returned at once, also while another one is being loaded."""

    def __init__(self, engine: Engine, default: str, before_release: Callable[[], None]) -> None:
        self._engine, self._default, self._before_release = engine, default, before_release
        self._there: dict[str, LVLM] = {}
        self._one_at_a_time = threading.Lock()

    def ready(self, name: str) -> bool:
        """Whether a model is there."""
        return name in self._there

    def get(self, name: str) -> LVLM:
        """The loaded model. Raises InputError if it does not fit or is not on offer: none is fetched by its name alone.

        Several large models do not fit one device, so the one before it goes first; runs under way keep theirs
        until they end. A name that is refused releases nothing.
        """
        there = self._there.get(name)
        if there is not None:
            return there
        with self._one_at_a_time:
            if name not in self._there:
                if name not in self._engine.models():
                    raise InputError("There is no such model in this demo.")
                if reason := self._engine.unavailable(name):
                    raise InputError(reason)
                self._there = {kept: one for kept, one in self._there.items() if kept == self._default}
                self._before_release()
                release_memory()
                self._there = {**self._there, name: self._engine.load(name)}
            return self._there[name]
