"""Which replica a call goes to, with a clock of our own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import pytest

if find_spec("ray") is None:  # not imported here: it reads its environment when it is
    pytest.skip("ray is not installed", allow_module_level=True)

from tests.serve.conftest import Fleet

REPLICAS = ("a", "b", "c")


@dataclass(frozen=True)
class Candidate:
    replica_id: str
    max_ongoing_requests: int = 64


class Calls:
    """A router that sends and ends calls, and what time it is."""

    def __init__(self) -> None:
        from ray.serve._private.common import DeploymentHandleSource, DeploymentID

        from app.replicas.routing import LeastLoadedRouter

        self.now = 0.0
        self.router: Any = LeastLoadedRouter(
            DeploymentID("engine"), DeploymentHandleSource.UNKNOWN,
            use_replica_queue_len_cache=True, get_curr_time_s=lambda: self.now,
        )  # fmt: skip

    def ranks(self) -> list[list[str]]:
        found = asyncio.run(self.router.choose_replicas([Candidate(name) for name in REPLICAS]))
        return [[one.replica_id for one in rank] for rank in found]

    def begin(self, name: str) -> None:
        self.router.on_send_request(name)

    def end(self, name: str) -> None:
        self.router.on_request_completed(name, "call")
        self.router.decrement_queue_len_cache(name)


@pytest.fixture
def calls(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """After the replicas have been started, which want to import Ray themselves."""
    found = Calls()
    monkeypatch.setattr(found.router, "_update_router_queue_len_gauge", lambda *_: None)
    return found


def test_a_free_one_comes_first_however_long_the_others_run(calls: Calls) -> None:
    calls.begin("a")
    calls.now = 8.0
    calls.begin("b")
    calls.now = 12.0  # Ray has forgotten a, and remembers b
    assert calls.ranks() == [["c"], ["a", "b"]]
    calls.begin("c")
    calls.end("a")
    assert calls.ranks() == [["a"], ["b", "c"]]


def test_the_one_with_the_fewest_comes_first_and_nothing_is_kept_of_those_that_end(calls: Calls) -> None:
    for name in "aaabbc":
        calls.begin(name)
    assert calls.ranks() == [["c"], ["b"], ["a"]]
    for name in "aaabbc":
        calls.end(name)
    assert calls.ranks() == [["a", "b", "c"]] and not calls.router._under_way
