"""MethodHook: listen to a method of one instance, where torch has no hooks. The instance is left as found."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Protocol

Listener = Callable[..., Any]  # called with a callable first (see MethodHook), then with the call's arguments

_guard = threading.Lock()


class Removable(Protocol):
    """A hook: of torch on a module, or a MethodHook."""

    def remove(self) -> None:
        """Take it off."""


class _Watched:
    """Stands in for the method: does what the method does, and calls every listener."""

    def __init__(self, original: Callable[..., Any]) -> None:
        functools.update_wrapper(self, original)  # transformers reads the signature of some methods
        self.original = original
        self.listeners: list[tuple[Listener, str]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        listeners, run = tuple(self.listeners), self._told
        for listener, when in listeners:
            if when == "around":
                run = functools.partial(listener, run)
        return run(*args, **kwargs)

    def _told(self, *args: Any, **kwargs: Any) -> Any:
        listeners = tuple(self.listeners)
        for listener, when in listeners:
            if when == "before":
                listener(self.original, *args, **kwargs)
        result = self.original(*args, **kwargs)
        for listener, when in listeners:
            if when == "after":
                listener(self.original, *args, **kwargs)
        return result


class MethodHook:
    """One listener on one method; several may watch the same, and leave in any order.

    when: "before" or "after" the method, told the original and the arguments; or "around" it, told what to call
    (the next listener, in the end the method), and its result is the call's.
    """

    def __init__(self, owner: Any, name: str, listener: Listener, when: str = "before") -> None:
        self.owner, self.name, self.listener = owner, name, (listener, when)
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
