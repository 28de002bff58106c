"""Code in a thread of its own: a browser test may have left an event loop in the one of the tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import anyio

T = TypeVar("T")


def call_apart(work: Callable[[], T]) -> T:
    """What `work` returns."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def run_apart(work: Callable[[], Awaitable[T]]) -> T:
    """What `work` returns, in an event loop."""
    return call_apart(lambda: anyio.run(work))
