"""The session of a web server without weights, in front of replicas that are sessions in this process."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Generator
from functools import partial
from typing import Any

import pytest
import torch
from PIL import Image

from app.replicas.batches import batch_answers
from app.replicas.session import ReplicaEngine, ReplicatedSession
from app.replicas.size import ReplicaRange
from app.replicas.start import NO_RAY, start_replicas
from app.server.drain import Drain
from app.server.metrics import Meters
from app.server.operations import Operations
from app.server.watch import WatchedReplicatedSession
from app.session.elsewhere import CallRefused, RunLost, SessionCall, SessionElsewhere, events_of
from app.session.engine import Engine
from app.session.quotas import FairUse
from app.session.session import Session
from app.session.sources import OpenedSource
from app.session.turn import OthersWait, Pair, TurnOver
from app.ui.errors import explained
from app.ui.faults import NO_REPLICA
from tests.app.fake import FakeEngine
from tests.app.operating import settings_of
from vscan_core.errors import InputError
from vscan_core.events import Done, Token
from vscan_core.multirun import Refused
from vscan_core.reducers.vscan import VScan

QUESTION = "What is in the picture?"


class Pretended:
    """Two replicas that are sessions of this process; what crosses is pickled."""

    most = 2

    def __init__(self, engine: Engine | None = None, cut_off_after: int | None = None) -> None:
        self.sessions = [Session(engine or Engine()) for _ in range(self.most)]
        self.cut_off_after = cut_off_after
        self.calls: list[SessionCall] = []

    def facts(self) -> Any:
        lvlm = self.sessions[0].model("mini")
        return pickle.loads(pickle.dumps(Facts(lvlm.model.config, lvlm.device)))

    def events(self, call: SessionCall, opened: OpenedSource) -> Generator[Any, None, None]:
        self.calls.append(call)
        call, opened = pickle.loads(pickle.dumps((call, opened)))
        free = next((one for one in self.sessions if not one.device("mini").busy), self.sessions[0])
        for number, event in enumerate(event for event in events_of(free, call, opened) if event is not None):
            if number == self.cut_off_after:
                raise RunLost
            if isinstance(event, CallRefused):
                raise event.reason
            yield pickle.loads(pickle.dumps(event))


class Facts:
    def __init__(self, config: Any, device: torch.device) -> None:
        self.config, self.device = config, device


@pytest.fixture(scope="module")
def replicas() -> Pretended:
    return Pretended()


@pytest.fixture
def session(replicas) -> ReplicatedSession:
    replicas.calls.clear()
    return ReplicatedSession(ReplicaEngine(replicas, "mini"), "mini", replicas=replicas)


def texts(events: Any) -> list[str]:
    return [event.answer.text for event in events if isinstance(event, Done)]


def test_every_run_of_a_session_goes_elsewhere() -> None:
    def runs(cls: type) -> set[str]:
        methods = {name: getattr(method, "__annotations__", {}) for name, method in vars(cls).items()}
        return {name for name, types in methods.items() if "Generator" in str(types.get("return"))}

    here = {"ask_many"}  # of a replica
    assert runs(Session) - here <= runs(SessionElsewhere), "a new method has to cross, too"
    counted = {name for name in vars(WatchedReplicatedSession.__mro__[1]) if not name.startswith("_")}
    assert runs(Session) - here <= counted


def test_answers_cuts_and_savings_are_those_of_one_process(session, replicas, picture_file) -> None:
    own = Session(Engine())
    assert texts(session.compare("mini", picture_file, QUESTION, 0.2)) == texts(
        own.compare("mini", picture_file, QUESTION, 0.2)
    )
    found, expected = (each.preview("mini", picture_file, 0.2) for each in (session, own))
    assert torch.equal(found.trace.kept, expected.trace.kept) and found.scan == expected.scan
    asked = "mini", picture_file, QUESTION, found.schedule, found.trace.tokens
    assert session.savings(*asked) == own.savings(*asked)
    session.preview("mini", picture_file, 0.2)
    session.savings(*asked)
    assert [call.method for call in replicas.calls] == ["compare", "preview", "prompt_tokens"], "nothing is asked twice"
    assert session.model("mini").anatomy == own.model("mini").anatomy
    assert session.device("mini").name == own.device("mini").name
    assert session.engine.weights_gb(session.model("mini")) == 0


def test_other_runs_cross_as_well(session, picture_file) -> None:
    ends = list(session.run_each("mini", picture_file, QUESTION, [partial(VScan, 0.2), partial(VScan, 7.0)]))
    assert [event.run for event in ends if isinstance(event, Done)] == [0, 1]
    assert [event.run for event in ends if isinstance(event, Refused)] == [2]
    assert any(isinstance(event, Pair) for event in session.pairs("mini", picture_file, QUESTION, 0.2, "vscan", 0.01))
    (answer,) = session.ask("mini", picture_file, QUESTION, VScan(0.2))
    assert answer.text == texts(session.compare("mini", picture_file, QUESTION, 0.2))[1]
    with pytest.raises(InputError, match="There is no method"):
        list(session.compare("mini", picture_file, QUESTION, 0.2, "nobody"))
    with pytest.raises(InputError, match="question"):
        list(session.compare("mini", picture_file, " ", 0.2))
    session.probe("mini", OpenedSource("probe", Image.new("RGB", (64, 64))), "?", 5)


def test_a_lost_run_says_so_and_counts_as_a_failure_of_the_server(picture) -> None:
    meters, replicas = Meters(), Pretended(FakeEngine(answer_words=("word",) * 50), cut_off_after=20)
    replicas.facts = lambda: Facts(None, torch.device("cpu"))  # type: ignore[method-assign]
    engine = ReplicaEngine(replicas, "mini")
    session = WatchedReplicatedSession(engine, "mini", meters, Drain(), replicas=replicas)
    seen = []
    with pytest.raises(RunLost) as lost:
        for event in session.compare("mini", picture, QUESTION, 0.2):
            seen.append(event)
    assert isinstance(seen[-1], Token), "what had arrived was shown"
    assert explained(lost.value) == NO_REPLICA
    assert 'vscan_errors_total{kind="replica"} 1.0' in meters.text().decode()
    assert not session.device("mini").busy, "the turn is given back"


def test_two_replicas_are_two_turns_and_who_waits_shortens_the_measuring(picture) -> None:
    replicas = Pretended(FakeEngine())
    replicas.facts = lambda: Facts(None, torch.device("cpu"))  # type: ignore[method-assign]
    session = ReplicatedSession(ReplicaEngine(replicas, "mini"), "mini", replicas=replicas)
    first, second, third = (session.compare("mini", picture, QUESTION, 0.2, pairs_s=1.0) for _ in range(3))
    assert next(first) is not None and next(second) is not None, "both have a replica"
    assert next(third) is None, "the third waits"
    first.close()
    rest = [event for event in third if event is not None]
    assert isinstance(rest[-1], TurnOver) and any(isinstance(event, Pair) for event in rest)
    second.close()
    one, two, three = (session.compare("mini", picture, QUESTION, 0.2, pairs_s=1.0) for _ in range(3))
    next(one), next(two), next(three)
    waiting = session.device("mini")._line.join()
    two.close()
    spared = [event for event in three if event is not None]
    assert [type(event) for event in spared[-2:]] == [OthersWait, TurnOver]
    assert not any(isinstance(event, Pair) for event in spared)
    waiting.leave()
    one.close()


def test_equal_reducers_share_a_batch_and_one_refusal_is_one_visitors(picture) -> None:
    engine = FakeEngine()
    session = Session(engine)
    opened = session.open(picture)
    asked = [
        ("a", VScan(0.2), 8), ("b", None, 8), ("c", VScan(0.2), 8), ("d", VScan(0.5), 8), ("e", VScan(0.2), 4),
        ("refuse", None, 8), ("f", VScan(0.2, llm_keep={}), 8), ("g", VScan(0.2, llm_keep={}), 8),
    ]  # fmt: skip
    found = batch_answers(session, [(SessionCall("ask", "mini", given), opened) for given in asked])
    told = [str(one.reason) if isinstance(one, CallRefused) else one.text for one in found]
    assert told == [
        "vscan: a", "baseline: b", "vscan: c", "vscan: d", "vscan: e",
        "This question is refused.", "vscan: f", "vscan: g",
    ]  # fmt: skip
    assert sorted(engine.batches) == sorted(
        [("vscan", 8, 2), ("vscan", 8, 1), ("vscan", 4, 1), ("vscan", 8, 2), ("baseline", 8, 2)]
        + [("baseline", 8, 1)] * 2  # after a refusal, one by one
    )


@pytest.mark.parametrize(("text", "least", "most"), [("2", 2, 2), ("1-4", 1, 4), ("3-3", 3, 3)])
def test_a_number_or_a_range_of_replicas(text, least, most) -> None:
    assert ReplicaRange.read(text) == ReplicaRange(least, most)
    assert settings_of(replicas=text).replicas == text


@pytest.mark.parametrize("text", ["", "0", "4-1", "-2", "2-", "a", "1-2-3", "1.5", "9999", "²"])
def test_what_is_no_number_of_replicas(text) -> None:
    with pytest.raises(ValueError, match="^give "):
        ReplicaRange.read(text)


def test_what_cannot_be_combined_is_said_before_anything_starts(monkeypatch) -> None:
    with pytest.raises(ValueError, match="all replicas hold one model"):
        Operations(settings_of(replicas="2", models=("mini", "dummy:llava-small")))
    with pytest.raises(InputError, match="There is no such model"):
        start_replicas("nobody/nothing", ReplicaRange(1, 1), FairUse())
    monkeypatch.setattr("app.replicas.start.unavailable", lambda name: "It does not fit.")
    with pytest.raises(InputError, match=r"It does not fit\."):
        start_replicas("mini", ReplicaRange(1, 1), FairUse())


def test_without_ray_it_says_what_to_install(monkeypatch) -> None:
    import builtins

    stock = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "ray" or name.startswith("ray."):
            raise ModuleNotFoundError(name=name)
        return stock(name, *rest)

    monkeypatch.delitem(sys.modules, "app.replicas.cluster", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError) as refused:
        start_replicas("mini", ReplicaRange(1, 1), FairUse())
    assert str(refused.value) == NO_RAY
