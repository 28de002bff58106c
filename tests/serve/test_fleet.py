"""Two real replicas: the same answers as in one process, batches, Stop, and a replica that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch

if find_spec("ray") is None:  # not imported here: it reads its environment when it is
    pytest.skip("ray is not installed", allow_module_level=True)

from app.session.elsewhere import RunLost, SessionCall
from app.session.engine import Engine
from app.session.session import Session
from app.session.turn import TurnOver
from app.ui.errors import explained
from app.ui.faults import NO_REPLICA
from tests.serve.conftest import EXAMPLE, PATIENCE_S, QUESTION, Fleet, replica_pids, waited_for
from tests.serve.unhurried import SLOWLY
from vscan_core.errors import InputError
from vscan_core.events import Done, Token
from vscan_core.multirun import Refused
from vscan_core.reducers.divprune import DivPrune
from vscan_core.reducers.vscan import VScan


def texts(events: Any) -> list[str]:
    return [event.answer.text for event in events if isinstance(event, Done)]


@pytest.fixture(scope="module")
def alone() -> Session:
    return Session(Engine())


def test_answers_are_those_of_one_process(fleet: Fleet, alone: Session) -> None:
    session = fleet.session
    expected = texts(alone.compare("mini", EXAMPLE, QUESTION, 1 / 9))
    for _ in range(3):  # whichever replica is asked
        events = list(session.compare("mini", EXAMPLE, QUESTION, 1 / 9))
        assert texts(events) == expected and isinstance(events[-1], TurnOver)
    found, wanted = (each.preview("mini", EXAMPLE, 0.2) for each in (session, alone))
    assert torch.equal(found.trace.kept, wanted.trace.kept)
    asked = "mini", EXAMPLE, QUESTION, found.schedule, found.trace.tokens
    assert session.savings(*asked) == alone.savings(*asked)
    ends = list(session.run_each("mini", EXAMPLE, QUESTION, [partial(VScan, 0.2), partial(VScan, 7.0)]))
    assert [event.run for event in ends if isinstance(event, Refused)] == [2]
    assert len(list(session.leave_regions_out("mini", EXAMPLE, QUESTION))) > 1
    with pytest.raises(InputError, match="question"):
        list(session.compare("mini", EXAMPLE, " ", 0.2))


def test_a_batch_answers_as_one_by_one_does(fleet: Fleet, alone: Session) -> None:
    questions = [QUESTION, "How many shapes are there?", "What is in the picture?", "Is there a star?"]
    reducers = [None, VScan(1 / 9), DivPrune(1 / 6)]
    asked = [(question, reducer) for question in questions for reducer in reducers] * 2
    with ThreadPoolExecutor(len(asked)) as threads:
        found = list(threads.map(lambda one: [a.text for a in fleet.session.ask("mini", EXAMPLE, *one) if a], asked))
    single = {
        (question, repr(reducer)): [a.text for a in alone.ask("mini", EXAMPLE, question, reducer) if a]
        for question, reducer in asked
    }
    assert found == [single[question, repr(reducer)] for question, reducer in asked]
    with pytest.raises(InputError, match="question"):
        list(fleet.session.ask("mini", EXAMPLE, "x" * 2000, None))


def test_stop_ends_the_run_in_its_replica(fleet: Fleet) -> None:
    before = len(list(fleet.notes.iterdir()))
    events = fleet.session.compare("mini", EXAMPLE, SLOWLY + QUESTION, 0.2)
    assert next(event for event in events if isinstance(event, Token))
    events.close()
    assert waited_for(lambda: len(list(fleet.notes.iterdir())) > before, 5), "10 s are left of it"
    assert not fleet.session.device("mini").busy


def test_a_killed_replica_ends_its_streams_with_a_sentence_and_comes_back(fleet: Fleet) -> None:
    session, ends = fleet.session, {}
    first = replica_pids()
    assert len(first) == 2
    writing = threading.Barrier(3)

    def visitor(name: int) -> None:
        seen = 0
        try:
            for event in session.compare("mini", EXAMPLE, f"{SLOWLY}{QUESTION} {name}", 0.2):
                if isinstance(event, Token):
                    seen += 1
                    if seen == 1 and name < 2:
                        writing.wait(PATIENCE_S)
            ends[name] = "whole"
        except Exception as error:
            ends[name] = explained(error)

    visitors = [threading.Thread(target=visitor, args=(name,)) for name in range(4)]
    for one in visitors:
        one.start()
    writing.wait(PATIENCE_S)  # one or two runs are under way; the others wait
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    for one in visitors:
        one.join(PATIENCE_S)
    lost = [name for name, end in ends.items() if end == NO_REPLICA]
    assert lost and set(lost) <= {0, 1} and all(end == "whole" for name, end in ends.items() if name not in lost)
    assert waited_for(lambda: len(replica_pids()) == 2 and not set(first) & set(replica_pids()))
    print(f"a new process after {time.monotonic() - killed:.1f} s at most")
    assert texts(session.compare("mini", EXAMPLE, QUESTION, 1 / 9)), "asked anew, answered"


def test_a_call_that_a_dying_replica_had_not_begun_is_made_again(fleet: Fleet) -> None:
    assert waited_for(lambda: len(replica_pids()) == 2)
    for pid in replica_pids():
        os.kill(pid, signal.SIGKILL)
    opened = fleet.session.open(EXAMPLE)
    call = SessionCall("compare", "mini", (QUESTION, 1 / 9, "vscan", 8), {"pairs_s": 0.0})
    events = list(fleet.session._replicas.events(call, opened))
    assert events[0] is None, "a word about waiting, for Stop to work"
    assert len(texts(events)) == 2


def test_a_stream_without_its_mark_is_a_lost_run(fleet: Fleet, monkeypatch) -> None:
    from app.replicas import client

    class Never:
        """What no event is an instance of."""

    monkeypatch.setattr(client, "StreamEnd", Never)
    with pytest.raises(Exception) as lost:
        list(fleet.session._replicas.events(
            SessionCall("prompt_tokens", "mini", (QUESTION,)), fleet.session.open(EXAMPLE)))  # fmt: skip
    assert isinstance(lost.value, RunLost)


STRANGER = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print('in')"


@pytest.mark.parametrize("token", ["", "guessed" * 10])
def test_ray_is_closed_to_strangers(fleet: Fleet, token) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    if token:
        own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    own["RAY_gcs_rpc_server_reconnect_timeout_s"] = "5"
    try:
        tried = subprocess.run(
            [sys.executable, "-c", STRANGER, address], env=own, capture_output=True, text=True, timeout=60
        )
    except subprocess.TimeoutExpired as still:
        said = (still.stdout or b"").decode() + (still.stderr or b"").decode()
    else:
        said = tried.stdout + tried.stderr
    assert "in\n" not in said and "InvalidAuthToken" in said
