"""Watch a method of one instance, for what torch's hooks do not reach. The instance is left as found."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

Listener = Callable[..., None]  # called with the original method first, then with the call's arguments

_guard = threading.Lock()


class _Watched:
    """Stands in for the method: does what the method does, and tells every listener before or after it."""

    def __init__(self, original: Callable[..., Any]) -> None:
        functools.update_wrapper(self, original)  # transformers reads the signature of some methods
        self.original = original
        self.listeners: list[tuple[Listener, bool]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._tell(False, *args, **kwargs)
        result = self.original(*args, **kwargs)
        self._tell(True, *args, **kwargs)
        return result

    def _tell(self, now: bool, *args: Any, **kwargs: Any) -> None:
        for listener, after in tuple(self.listeners):
            if after is now:
                listener(self.original, *args, **kwargs)


class Watch:
    """One listener on one method; several may watch the same, and leave in any order."""

    def __init__(self, owner: Any, name: str, listener: Listener, after: bool = False) -> None:
        self.owner, self.name, self.listener = owner, name, (listener, after)
        with _guard:
            if not isinstance(vars(owner).get(name), _Watched):
                setattr(owner, name, _Watched(getattr(owner, name)))
            vars(owner)[name].listeners.append(self.listener)

    def remove(self) -> None:
        """Stop listening; the last one puts the method back."""
        with _guard:
            watched = vars(self.owner)[self.name]
            watched.listeners.remove(self.listener)
            if not watched.listeners:
                delattr(self.owner, self.name)
