"""MethodHook: listen to a method of one instance, for which torch has no hooks; removal restores the instance."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Protocol

Listener = Callable[..., Any]  # called with a callable first (see MethodHook), then with the call's arguments

_lock = threading.Lock()


class Removable(Protocol):
    """A hook that can be removed: one of torch on a module, or a MethodHook."""

    def remove(self) -> None:
        """Remove the hook."""


class _Wrapped:
    """Replaces the method: calls it and every listener."""

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
    """One listener on one method. Several may listen to the same method and may be removed in any order.

    when: "before" or "after": the listener is called with the original method and the arguments. "around": it is called
    with the next callable (another listener or the method) and the arguments, and its result is that of the call.
    """

    def __init__(self, owner: Any, name: str, listener: Listener, when: str = "before") -> None:
        self.owner, self.name, self.listener = owner, name, (listener, when)
        with _lock:
            if not isinstance(vars(owner).get(name), _Wrapped):
                setattr(owner, name, _Wrapped(getattr(owner, name)))
            vars(owner)[name].listeners.append(self.listener)

    def remove(self) -> None:
        """Stop listening; removing the last listener restores the method."""
        with _lock:
            wrapped = vars(self.owner)[self.name]
            wrapped.listeners.remove(self.listener)
            if not wrapped.listeners:
                delattr(self.owner, self.name)
