"""What may wait in Gradio's queue: so many events of each visitor, whoever else waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
from fastapi import HTTPException

from ..session.quotas import FairUse
from ..session.visitors import program_session, visitor_name

FULL_FOR_YOU = "You have {number} requests waiting here; please wait until some of them are answered."


def bound_joins(demo: gr.Blocks, fair: FairUse) -> None:
    """From now on, a visitor whose events fill their share of the queue is refused with 429; others are not.

    Call it after `demo.queue`, whose `max_size` is for all visitors together: None, or many times `fair.queued`.
    """
    queue: Any = demo._queue
    push = queue.push

    async def push_if_fair(body: Any, request: Any, username: str | None) -> Any:
        if body.session_hash is None:  # Gradio would make every call a session, and so a visitor, of its own
            body.session_hash = program_session()
        address = _address(request)
        waiting = [(visitor_name(event.session_hash), _address(event.request)) for event in _events(queue)]
        mine = sum(one == (visitor_name(body.session_hash), address) for one in waiting)
        ours = sum(other == address for _, other in waiting)
        if mine >= fair.queued or ours >= fair.queued_per_address:
            raise HTTPException(429, FULL_FOR_YOU.format(number=mine if mine >= fair.queued else ours))
        return await push(body, request, username)

    queue.push = push_if_fair


def _events(queue: Any) -> Iterator[Any]:
    for event_queue in queue.event_queue_per_concurrency_id.values():
        yield from event_queue.queue


def _address(request: Any) -> str:
    client = getattr(request, "client", None)
    return str(client.host) if client else ""
