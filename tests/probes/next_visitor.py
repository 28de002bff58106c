"""Whether the next visitor is served, after others have done their worst."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.probes.pictures import good_picture
from tests.probes.probe import Call, Request

if TYPE_CHECKING:
    from tests.probes.sending import Sender

NEXT_VISITOR_S = 60.0  # until a visitor who comes after the others must have an answer; a busy computer is slow


def still_served(sender: Sender) -> str | None:
    """Why the next visitor gets no answer, in a few words; None if there is one in time."""
    source = sender.new_visitor()
    start = time.monotonic()
    if sender.ask(Request("/healthz"), source, 10).status != 200:
        return "/healthz does not answer"
    path = sender.upload("next.png", good_picture(), source)
    if not isinstance(path, str):
        return f"the next visitor's picture is refused ({path.status})"
    picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
    found = sender.call(Call("compare", (picture, "What is there?", 0.2, "mini", "vscan", 4)), source)
    took = time.monotonic() - start
    if not found.answered:
        return f"the next visitor gets no answer: {found.sentence or found.status}"
    return f"the next visitor waits {took:.0f} s" if took > NEXT_VISITOR_S else None
