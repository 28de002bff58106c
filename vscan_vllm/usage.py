"""How many visual tokens each request had and kept: from the processor to the middleware, in one process."""

from __future__ import annotations

import json
from collections import OrderedDict
from threading import Lock
from typing import Any

REQUEST = "vscan_request"  # the processor option that carries a request's number; the middleware alone sets it
MOST_REQUESTS = 10_000  # of which the counts are kept, if nobody fetches them

_counts: OrderedDict[str, dict[str, Any]] = OrderedDict()
_lock = Lock()


def note_tokens(request: str, method: str, changed: str | None, tokens: int, kept: int) -> None:
    """Add the pictures or videos of one prompt: their visual tokens, and how many of them are kept.

    method: as `spelled`, with what `changed` in it, in one sentence, since the client wrote it.
    """
    with _lock:
        before = _counts.get(request, {"tokens": 0, "kept": 0})
        counts = {"tokens": before["tokens"] + tokens, "kept": before["kept"] + kept}
        _counts[request] = {**method_and_settings(method), **counts, **({"note": changed} if changed else {})}
        while len(_counts) > MOST_REQUESTS:
            _counts.popitem(last=False)


def method_and_settings(method: str) -> dict[str, Any]:
    """{"method": ..., "settings": ...} of a method as `spelled`; both None for every token."""
    settings = json.loads(method)
    name = None if settings is None else settings.pop("method")
    return {"method": name, "settings": settings}


def noted_tokens(request: str) -> dict[str, Any] | None:
    """What was noted for a request so far; None: it has no picture, or has not been read."""
    with _lock:
        return _counts.get(request)


def forget_tokens(request: str) -> None:
    """Drop the counts of a request that has been answered."""
    with _lock:
        _counts.pop(request, None)
