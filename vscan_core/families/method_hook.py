"""MethodHook: listen to a method of one instance, where torch has no hooks. The instance is left as found."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Protocol

Listener = Callable[..., Any]  # called with a callable first (see MethodHook), then with the call's arguments

_lock = threading.Lock()


class Removable(Protocol):
    """A hook: of torch on a module, or a MethodHook."""

    def remove(self) -> None:
        """Take it off."""


class _Wrapped:
    """Stands in for the method: does what the method does, and calls every listener."""

    def __init__(self, original: Callable[..., Any]) -> None:
        functools.update_wrapper(self, original)  # transformers reads the signature of some methods
        self.original = original
        self.listeners: list[tuple[Listener, str]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        listeners, run = tuple(self.listeners), self._with_listeners
        for listener, when in listeners:
            if when == "around":
                run = functools.partial(listener, run)
        return run(*args, **kwargs)

    def _with_listeners(self, *args: Any, **kwargs: Any) -> Any:
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
    """One listener on one method; several may listen to the same one, and are removed in any order.

    when: "before" or "after" the method, called with the original and the arguments; or "around" it, called with what
    to call next (another listener, in the end the method), and its result is the result of the call.
    """

    def __init__(self, owner: Any, name: str, listener: Listener, when: str = "before") -> None:
        self.owner, self.name, self.listener = owner, name, (listener, when)
        with _lock:
            if not isinstance(vars(owner).get(name), _Wrapped):
                setattr(owner, name, _Wrapped(getattr(owner, name)))
            vars(owner)[name].listeners.append(self.listener)

    def remove(self) -> None:
        """Stop listening; the last one restores the method."""
        with _lock:
            wrapped = vars(self.owner)[self.name]
            wrapped.listeners.remove(self.listener)
            if not wrapped.listeners:
                delattr(self.owner, self.name)
