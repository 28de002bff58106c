"""A session in front of a stub of a server, with the embedded model loaded once for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from app.session.remote import RemoteEngine
from app.session.session import Session
from tests.chat_stub import ChatStub, chat_stub
from vscan_core import LVLM, load_model
from vscan_core.chat_server import find_chat_server


@cache
def loaded() -> LVLM:
    return load_model("mini")


class QuickEngine(RemoteEngine):
    """Loads the model once for all tests, and keeps its picture encoded."""

    def load(self, name: str) -> LVLM:
        return loaded()

    def warm_up(self, lvlm: LVLM) -> None:
        pass


@contextmanager
def in_front_of(**options: Any) -> Iterator[tuple[Session, ChatStub]]:
    with chat_stub(**options) as stub:
        yield Session(QuickEngine(find_chat_server(stub.url), patience_s=20)), stub
