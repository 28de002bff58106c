"""Which calls of a model belong to which block: a `with reduced(...)`, one step of an `answer`, a preview.

A call belongs to the innermost block of its context (contextvars). asyncio passes contexts on by itself. While a
shared block is open, threads started and jobs submitted to a ThreadPoolExecutor inside it inherit the context too,
whichever thread runs them: what Python 3.14 offers as `thread_inherit_context`, here for blocks only.
"""

from __future__ import annotations

import concurrent.futures
import functools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

from torch import nn

PATIENCE_S = 10.0  # how long leaving a block waits for a thread that does not run the model
_POLL_S = 0.002
_STILL_RUNS = (
    "{} was started inside a `with reduced(...)` and is still running at its end; wait for it inside the `with`, or "
    "start it outside"
)


class Block:
    """Work with one model: all calls whose context is inside the block."""

    def __init__(self, model: nn.Module, shared: bool = False) -> None:
        self.model, self.shared, self.active = model, shared, True  # shared: threads started inside belong to it
        self.thread: Thread | None = None  # the one that opened it, while inside
        self.threads: list[Thread] = []  # started inside
        self.jobs: set[Future[Any]] = set()

    def settle(self) -> None:
        """Wait for threads and jobs that were started inside and still run; threads waiting for work do not count.

        Raises RuntimeError if one goes on for PATIENCE_S seconds without running a model.
        """
        while concurrent.futures.wait(tuple(self.jobs), PATIENCE_S).not_done:
            if not any(_doing(thread) == "model" for thread in threading.enumerate()):
                raise RuntimeError(_STILL_RUNS.format("a job of a pool"))
        deadline = time.monotonic() + PATIENCE_S
        for thread in tuple(self.threads):
            while (doing := _doing(thread)) is not None:
                if doing == "model":
                    deadline = time.monotonic() + PATIENCE_S
                elif time.monotonic() > deadline:
                    raise RuntimeError(_STILL_RUNS.format(f"the thread {thread.name!r}"))
                thread.join(_POLL_S)


_inside: ContextVar[tuple[Block, ...]] = ContextVar("vscan_blocks", default=())


def block_of(model: nn.Module) -> Block | None:
    """The innermost open block of the calling context on this model; None: the call belongs to none."""
    for block in reversed(_inside.get()):
        if block.model is model and block.active:
            return block
    return None


@contextmanager
def entered(block: Block) -> Iterator[None]:
    """Put the calling context inside the block until the end of the `with`."""
    _inside.set((*(other for other in _inside.get() if other.active), block))
    try:
        if block.shared:
            with _handing_on:
                yield
        else:
            yield
    finally:  # perhaps in another context than above, because several threads may advance a generator
        _inside.set(tuple(other for other in _inside.get() if other is not block))


class _HandingOn:
    """While any shared block is open: Thread.start and ThreadPoolExecutor.submit pass on the caller's context."""

    def __init__(self) -> None:
        self._open, self._guard = 0, threading.Lock()

    def __enter__(self) -> None:
        with self._guard:
            self._open += 1
            if self._open == 1:
                self._start, self._submit = Thread.start, ThreadPoolExecutor.submit
                self._ours = _starter(self._start), _submitter(self._submit)
                Thread.start, ThreadPoolExecutor.submit = self._ours  # type: ignore[method-assign]

    def __exit__(self, *_: Any) -> None:
        with self._guard:
            self._open -= 1
            if self._open:
                return
            # if others have wrapped ours meanwhile, it stays inside theirs: outside of blocks it only delegates
            if Thread.start is self._ours[0]:
                Thread.start = self._start  # type: ignore[method-assign]
            if ThreadPoolExecutor.submit is self._ours[1]:
                ThreadPoolExecutor.submit = self._submit  # type: ignore[method-assign]


_handing_on = _HandingOn()


def _shared() -> list[Block]:
    return [block for block in _inside.get() if block.shared and block.active]


def _starter(start: Callable[[Thread], None]) -> Any:
    @functools.wraps(start)
    def start_inside(thread: Thread) -> None:
        if blocks := _shared():
            thread.run = functools.partial(copy_context().run, thread.run)  # type: ignore[method-assign]
            for block in blocks:
                block.threads = [*(one for one in block.threads if one.is_alive()), thread]
        start(thread)

    return start_inside


def _submitter(submit: Callable[..., Future[Any]]) -> Any:
    @functools.wraps(submit)
    def submit_inside(pool: ThreadPoolExecutor, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not (blocks := _shared()):
            return submit(pool, job, *args, **kwargs)
        outside = copy_context()
        outside.run(_inside.set, ())  # the pool's own threads outlive the block and do not belong to it
        future: Future[Any] = outside.run(submit, pool, copy_context().run, job, *args, **kwargs)
        for block in blocks:
            block.jobs.add(future)
            future.add_done_callback(block.jobs.discard)
        return future

    return submit_inside


def _doing(thread: Thread) -> str | None:
    """What a thread is doing: "model", "other", or None if it has ended or is waiting for work."""
    frame = sys._current_frames().get(thread.ident or -1)
    if not thread.is_alive() or thread is threading.current_thread() or frame is None:
        return None
    names = list(_frames(frame))
    if any(module.partition(".")[0] == "transformers" for module, _ in names):
        return "model"
    for module, function in names[:4]:
        if (module, function) in _IDLE or (thread.daemon and (module, function) == ("threading", "wait")):
            return None
    return "other"


# innermost frames of a thread that waits for its next job or message
_IDLE = {("queue", "get"), ("selectors", "select"), ("concurrent.futures.thread", "_worker")}


def _frames(frame: FrameType | None) -> Iterator[tuple[str, str]]:
    """(module, function) from the innermost frame outward."""
    while frame is not None:
        module = frame.f_globals.get("__name__", Path(frame.f_code.co_filename).stem)
        yield str(module), frame.f_code.co_name
        frame = frame.f_back
