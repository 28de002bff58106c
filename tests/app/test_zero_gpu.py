"""Runs on ZeroGPU: in a real forked process, to which everything crosses pickled, as `spaces` does it."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event as StopEvent
from types import ModuleType
from typing import Any

import pytest
import torch

from app.server.drain import Drain
from app.server.metrics import Meters
from app.server.watch import WatchedSession
from app.session import zero_gpu
from app.session.session import Session
from app.session.turn import Pair, PairStarts, TurnOver
from app.session.zero_gpu import GPUCall, ZeroGPUSession, gpu_seconds, zero_gpu_is_on
from tests.app.fake import Absent, FakeEngine
from vscan_core.errors import InputError
from vscan_core.events import Done, Token
from vscan_core.multirun import Refused
from vscan_core.reducers.vscan import VScan

QUESTION = "What is this?"


class Lender:
    """The part of `spaces` that is used: a decorator after which a generator runs in a fork of this process."""

    def __init__(self) -> None:
        self.seconds: list[int] = []  # asked for, call by call
        self.exits: list[int | None] = []

    def GPU(self, duration: Callable[[GPUCall], int]) -> Callable[[Any], Any]:
        def decorated(task: Callable[[GPUCall], Generator[Any, None, None]]) -> Any:
            def lend(call: GPUCall) -> Generator[Any, None, None]:
                self.seconds.append(duration(call))
                yield from self._steps(task, call)

            return lend

        return decorated

    def _steps(self, task: Any, call: GPUCall) -> Generator[Any, None, None]:
        fork = multiprocessing.get_context("fork")
        ours, theirs = fork.Pipe()
        stop = fork.Event()
        process = fork.Process(target=serve_one, args=(task, pickle.dumps(call), theirs, stop), daemon=True)
        process.start()
        theirs.close()
        try:
            while (message := pickle.loads(ours.recv_bytes()))[0] == "event":
                yield message[1]
            if message[0] == "error":
                raise RuntimeError(f"ZeroGPU worker error: {message[1]}")
        finally:
            stop.set()
            ours.close()  # a full pipe would hold it up
            process.join(30)
            self.exits.append(process.exitcode)


def serve_one(task: Any, call: bytes, pipe: Connection, stop: StopEvent) -> None:
    """In the fork. What is raised crosses as the name of its class only."""
    torch.set_num_threads(1)
    events = task(pickle.loads(call))
    try:
        for event in events:
            if stop.is_set():
                events.close()
                return
            pipe.send_bytes(pickle.dumps(("event", event)))
        pipe.send_bytes(pickle.dumps(("end", None)))
    except BrokenPipeError:  # nobody reads any more
        events.close()
    except Exception as error:
        pipe.send_bytes(pickle.dumps(("error", type(error).__name__)))


@pytest.fixture
def lender(monkeypatch) -> Lender:
    """Installed as the module `spaces`."""
    module, found = ModuleType("spaces"), Lender()
    module.GPU = found.GPU  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spaces", module)
    monkeypatch.setattr(zero_gpu, "_ORIGIN", {})
    monkeypatch.setattr(zero_gpu, "_HERE", {})
    return found


@pytest.fixture
def session(lender) -> ZeroGPUSession:
    return ZeroGPUSession(FakeEngine())


def told(events: Any) -> list[Any]:
    """The events, with None for waiting left out, and tokens as their text."""
    return [event.text if isinstance(event, Token) else type(event) for event in events if event is not None]


def test_a_comparison_says_the_same_as_without(session, lender, picture) -> None:
    expected = told(Session(FakeEngine()).compare("mini", picture, QUESTION, 0.25))
    assert told(session.compare("mini", picture, QUESTION, 0.25)) == expected
    assert expected[-1] is TurnOver and lender.exits == [0]
    assert session.engine.ran == [], "this process has no GPU: nothing ran in it"
    assert session._baselines.find(("mini", "", QUESTION, 64)) is None


def test_traces_arrive_whole(session, picture) -> None:
    events = list(session.compare("mini", picture, QUESTION, 0.25))
    traces = [event.answer.trace for event in events if isinstance(event, Done)]
    expected = [event.answer.trace for event in Session(FakeEngine()).compare("mini", picture, QUESTION, 0.25)
                if isinstance(event, Done)]  # fmt: skip
    for found, wanted in zip(traces, expected, strict=True):
        assert torch.equal(found.images[0].kept, wanted.images[0].kept)


def test_every_method_of_an_arena_runs_or_is_refused_in_its_place(session, picture) -> None:
    makers = [partial(VScan, 0.25), Absent, partial(VScan, 0.5)]
    events = list(session.run_each("mini", picture, QUESTION, makers))
    ends = [event.run for event in events if isinstance(event, Done)]
    (refused,) = (event for event in events if isinstance(event, Refused))
    assert ends == [0, 1, 3] and (refused.run, str(refused.reason)) == (2, "This model has no text tower.")


def test_one_run_by_itself_is_lent_a_gpu_for_itself(session, lender, picture) -> None:
    for reducer in (VScan(0.25, llm_keep={3: 20}), None):
        *_, done = session.run_one("mini", picture, QUESTION, reducer, 8)
        *_, expected = Session(FakeEngine()).run_one("mini", picture, QUESTION, reducer, 8)
        assert done.answer.trace.visual_tokens_per_layer == expected.answer.trace.visual_tokens_per_layer
    list(session.compare("mini", picture, QUESTION, 0.25, max_new_tokens=8))
    assert session.engine.ran == [] and lender.seconds[0] == lender.seconds[1] <= lender.seconds[2]


def test_pairs_and_previews_are_lent_a_gpu_too(session, lender, picture) -> None:
    kinds = told(session.pairs("mini", picture, QUESTION, 0.25, "vscan", 0.01))
    assert kinds[0] is PairStarts and Pair in kinds
    first = session.preview("mini", picture, 0.25)
    assert torch.equal(first.trace.kept, Session(FakeEngine()).preview("mini", picture, 0.25).trace.kept)
    assert len(lender.seconds) == 2
    session.preview("mini", picture, 0.25)
    assert len(lender.seconds) == 2, "the same cut again takes no GPU"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"question": " "}, "question"),
        ({"retention": 0.25, "method": "picky"}, "Picky cannot keep less than 50 %"),
        ({"method": "nobody"}, "There is no method 'nobody'"),
        ({"model": "big"}, "Big 7B needs about 16.2 GB of memory"),
        ({"source": None}, "Please choose a picture first."),
    ],
)
def test_bad_input_keeps_its_sentence_across_processes(session, picture, given, sentence) -> None:
    asked = {"model": "mini", "source": picture, "question": QUESTION, "retention": 0.25} | given
    with pytest.raises(InputError, match=sentence):
        list(session.compare(**asked))


def test_what_is_wrong_before_a_run_takes_no_gpu(session, lender, picture) -> None:
    for given in ({"method": "nobody"}, {"source": None}, {"model": "big"}):
        with pytest.raises(InputError):
            list(session.compare(**{"model": "mini", "source": picture, "question": "?", "retention": 0.5, **given}))
    assert lender.seconds == []


def test_stop_ends_the_other_process(lender, picture) -> None:
    session = ZeroGPUSession(FakeEngine(pause_s=0.01, answer_words=("so",) * 2000))
    with closing(session.compare("mini", picture, QUESTION, 0.25, max_new_tokens=64)) as events:
        while not isinstance(next(events), Token):
            pass
    assert lender.exits == [0]


def test_a_visitor_is_asked_for_as_few_seconds_as_the_run_needs(session, lender, picture) -> None:
    list(session.compare("mini", picture, QUESTION, 0.25, max_new_tokens=1))
    list(session.compare("mini", picture, QUESTION, 0.25, max_new_tokens=64, pairs_s=5))
    list(session.run_each("mini", picture, QUESTION, [partial(VScan, 0.5)] * 6))
    short, measured, many = lender.seconds
    assert short < measured < many + 5 and short < 10 and many < 60
    assert gpu_seconds(14.1, 2, 64) < 20 and gpu_seconds(27, 2, 64) > gpu_seconds(14.1, 2, 64)
    assert gpu_seconds(70, 20, 64, 60) == zero_gpu.LONGEST_S


class Watched(WatchedSession, ZeroGPUSession):
    """As in a Space that is in service."""


def test_what_runs_elsewhere_is_counted_here(lender, picture) -> None:
    meters = Meters()
    session = Watched(FakeEngine(), "mini", meters, Drain())
    list(session.compare("mini", picture, QUESTION, 0.25))
    lines = meters.text().decode().splitlines()
    assert 'vscan_visual_tokens_total{kind="in"} 576.0' in lines and "vscan_running 0.0" in lines
    assert 'vscan_stage_seconds_count{stage="prefill"} 2.0' in lines and lender.exits == [0]


@pytest.mark.parametrize(("value", "on"), [("true", True), ("1", True), ("", False), ("false", False)])
def test_on_only_where_the_hub_says_so(lender, monkeypatch, value, on) -> None:
    monkeypatch.setenv("SPACES_ZERO_GPU", value)
    monkeypatch.setattr(zero_gpu, "find_spec", lambda name: name == "spaces" or None)
    assert zero_gpu_is_on() is on
    monkeypatch.setattr(zero_gpu, "find_spec", lambda _: None)
    assert not zero_gpu_is_on(), "not installed"
