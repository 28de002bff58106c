"""Loaded models: the default one and the latest other one, each loaded once; knows no widget."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from vscan_core.errors import InputError
from vscan_core.measure import release_memory

from .engine import Engine

if TYPE_CHECKING:
    from vscan_core import LVLM


class Models:
    """A model that is there is returned at once, also while another one is being loaded."""

    def __init__(
        self, engine: Engine, default: str, before_release: Callable[[], None], after_load: Callable[[LVLM], None]
    ) -> None:
        self._engine, self._default = engine, default
        self._before_release, self._after_load = before_release, after_load
        self._there: dict[str, LVLM] = {}
        self._one_at_a_time = threading.Lock()

    def ready(self, name: str) -> bool:
        """Whether a model is there."""
        return name in self._there

    def unavailable(self, name: str) -> str | None:
        """Why a model cannot run here, in one sentence; None if it is there, or fits once the one before it is gone."""
        if name in self._there:
            return None
        return self._engine.unavailable(name, self._released_gb(name))

    def begin(self, name: str) -> Future[LVLM]:
        """Load a model beside what else goes on; the future raises what `get` raises."""
        found: Future[LVLM] = Future()

        def load() -> None:
            try:
                found.set_result(self.get(name))
            except Exception as error:
                found.set_exception(error)

        threading.Thread(target=load, name=f"loads {name}", daemon=True).start()
        return found

    def expected(self, name: str) -> str:
        """How long the first word of a model that can run will take, estimated; "" if there is nothing to say."""
        return self._engine.expected(name, self._released_gb(name))

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
                if reason := self.unavailable(name):
                    raise InputError(reason)
                self._there = {kept: one for kept, one in self._there.items() if kept == self._default}
                self._before_release()
                release_memory()
                lvlm = self._engine.load(name)
                self._after_load(lvlm)
                self._there = {**self._there, name: lvlm}
            return self._there[name]

    def _released_gb(self, name: str) -> float:
        """Memory of the models that go before `name` is loaded, and of `name` itself."""
        there = self._there.items()
        return sum(self._engine.weights_gb(lvlm) for other, lvlm in there if other == name or other != self._default)
