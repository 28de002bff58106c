"""`reduced(model, reducer)`: the one place where methods and models meet.

Hooks on the model's own modules, taken off when the `with` ends, also after an exception; nothing else is changed.
Several threads may each run their own `with` on one model: a call belongs to the `with` of its thread. A thread
that was started inside a `with` (a streaming worker) belongs to that one; a thread that was already running and
has no `with` of its own runs the model as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from torch import Tensor, nn

from vscan_core.books import Call
from vscan_core.decoding import Decoding
from vscan_core.encoding import Encoded, Encoding
from vscan_core.families import family_of
from vscan_core.layout import Tiles
from vscan_core.reducers.base import Reducer
from vscan_core.trace import Trace

Section = Callable[[], AbstractContextManager[Any]]

_running: WeakKeyDictionary[nn.Module, list[Session]] = WeakKeyDictionary()
_guard = threading.Lock()


@dataclass
class State:
    """What one thread's calls hand from hook to hook."""

    seen: Tiles | None = None
    features: list[Tensor] | None = None  # per tile, before the projector; None where tokens are several rows there
    rows: dict[int, Any] = field(default_factory=dict)  # vision layer -> scores per tile
    keys: Tensor | None = None
    merging: Any = None  # tokens merging inside the encoder, if they do
    encoded: Encoded = field(default_factory=Encoded)
    visual: Tensor | None = None
    call: Call | None = None


class Session:
    """One `with reduced(...)`."""

    def __init__(self, model: nn.Module, adopts: bool) -> None:
        self.model, self.trace, self.active, self.adopts = model, Trace(), True, adopts
        self.owner: threading.Thread | None = None
        self.strangers: WeakSet[threading.Thread] = WeakSet(threading.enumerate())
        self.states: WeakKeyDictionary[threading.Thread, State] = WeakKeyDictionary()

    def state(self) -> State | None:
        """The calling thread's state, or None if its calls are not ours."""
        thread = threading.current_thread()
        if thread is not self.owner and (thread in self.strangers or not self._adopts(thread)):
            return None
        if thread not in self.states:
            self.states[thread] = State()
        return self.states[thread]

    @contextmanager
    def here(self) -> Iterator[None]:
        """The calling thread's model calls are ours from here to the end of the `with`."""
        thread = threading.current_thread()
        with _guard:
            if any(other.owner is thread for other in _running[self.model]):
                raise RuntimeError("this thread is already inside a `with reduced(...)` on this model; leave it first")
            self.owner = thread
        try:
            yield
        finally:
            self.owner = None

    def _adopts(self, thread: threading.Thread) -> bool:
        sessions = _running.get(self.model, [])
        if not self.adopts or any(session.owner is thread for session in sessions):
            return False
        if sum(session.adopts and thread not in session.strangers for session in sessions) > 1:
            raise RuntimeError(
                "this thread could belong to several `with reduced(...)` blocks on this model; "
                "open its own block inside the thread (reducer None for the model as it is)"
            )
        return True


@contextmanager
def reduced(model: Any, reducer: Reducer | None) -> Iterator[Trace]:
    """Run an unmodified transformers LVLM with fewer visual tokens.

    model: any model of a known family, e.g. `LlavaForConditionalGeneration`. reducer: None only watches.
    Yields the Trace, which fills while the model runs: `generate`, plain forward, streaming, beams, batches.
    Not supported, and refused: static caches, labels, 4-D attention masks, one `with` inside another on the same
    thread and model. Image features that the model computed inside the `with` carry marks (-inf rows) and must not
    be used outside it; logits of a plain forward have the reduced length.
    """
    with open_session(model, reducer, adopts=True) as session, session.here():
        yield session.trace


@contextmanager
def open_session(
    model: Any, reducer: Reducer | None, *, adopts: bool = False, timed: Section = nullcontext
) -> Iterator[Session]:
    """Hooks on, but no thread's calls are reduced outside `session.here()`; for generators that hop threads.

    `timed()` is entered around every selection. adopts: whether threads started from now on belong to it.
    """
    family = family_of(model)
    anatomy = family.anatomy(model)
    with ExitStack() as undo:
        session = Session(model, adopts)
        undo.callback(setattr, session, "active", False)
        with _guard:
            _running.setdefault(model, []).append(session)
        undo.callback(_running[model].remove, session)
        for part in (Encoding(model, family, reducer, anatomy), Decoding(model, family, reducer, anatomy, session)):
            for handle in part.hooks(session.state, timed):
                undo.callback(handle.remove)
        yield session
