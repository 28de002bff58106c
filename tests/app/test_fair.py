"""Fair use on a real server: visitors wait in line, none takes another's turn, and nothing computes for nobody."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio_client import Client, handle_file

from app.compare.page import ComparePage
from app.server.api import Endpoints, add_endpoints
from app.server.joins import bound_joins
from app.session.quotas import FairUse
from app.session.session import Session
from app.session.turn import Asked, turn
from app.session.visitors import Visits
from app.ui.events import THREADS
from app.ui.messages import STOPPED
from tests.app.conftest import launched
from tests.app.fake import FakeEngine
from tests.app.test_handlers import asked
from vscan_core.errors import InputError

PATIENCE_S = 60.0
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore:.*copy keyword.*")


@dataclass
class Desk:
    """A server with nothing but the endpoints, and what is behind them."""

    url: str
    engine: FakeEngine
    session: Session
    visits: Visits
    picture: str

    def post(self, endpoint: str, *values: Any, session: str | None = None) -> httpx.Response:
        data = [{"path": self.uploaded, "meta": {"_type": "gradio.FileData"}}, *values]
        body = {"data": data} | ({"session_hash": session} if session else {})
        return httpx.post(f"{self.url}gradio_api/call/{endpoint}", json=body, timeout=PATIENCE_S)

    @cached_property
    def uploaded(self) -> str:
        """The picture, uploaded once."""
        with open(self.picture, "rb") as file:
            sent = httpx.post(f"{self.url}gradio_api/upload", files={"files": ("a.png", file)}, timeout=PATIENCE_S)
        return str(sent.json()[0])

    def answer(self, endpoint: str, *values: Any, session: str | None = None) -> str:
        """The stream of a call from its beginning to its end."""
        event = self.post(endpoint, *values, session=session).json()["event_id"]
        return httpx.get(f"{self.url}gradio_api/call/{endpoint}/{event}", timeout=PATIENCE_S).text


COMPARE = ("What?", 0.2, "mini", "vscan", 8)
SWEEP = ("What?", "1, 0.5, 0.2", "mini", "vscan")


@contextmanager
def desk(engine: FakeEngine, picture: str, fair: FairUse) -> Iterator[Desk]:
    session, visits = Session(engine), Visits(fair)
    with gr.Blocks(analytics_enabled=False) as demo:
        add_endpoints(session, visits)
    demo.queue(default_concurrency_limit=1)
    bound_joins(demo, fair)
    demo.launch = partial(demo.launch, max_threads=THREADS)
    with launched(demo) as url:
        yield Desk(url, engine, session, visits, picture)


@contextmanager
def held(session: Session, picture: str) -> Iterator[None]:
    """The device is busy with somebody else's run."""
    run = session.compare("mini", picture, "Held?", 0.2)
    next(run)
    try:
        yield
    finally:
        run.close()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_runs_that_nobody_listens_to_hold_nobody_up_and_never_run(picture: str) -> None:
    with desk(FakeEngine(), picture, FairUse(listener_s=0.5)) as here:
        for _ in range(21):
            assert here.post("sweep", *SWEEP).status_code == 200
        until(lambda: "complete" in here.answer("compare", *COMPARE))  # refused until some of them are given up
        until(lambda: here.visits.under_way() == 0)
        assert here.engine.ran == ["baseline", "vscan"]


def test_a_run_ends_when_its_listener_leaves_also_while_it_waits(picture: str) -> None:
    engine = FakeEngine(pause_s=0.05, answer_words=("word",) * 2000)
    with desk(engine, picture, FairUse(listener_s=0.5)) as here, held(here.session, picture):
        waiting = here.post("compare", *COMPARE).json()["event_id"]
        with httpx.stream("GET", f"{here.url}gradio_api/call/compare/{waiting}", timeout=PATIENCE_S) as stream:
            next(stream.iter_lines())
            assert here.visits.under_way() == 1
        until(lambda: here.visits.under_way() == 0)


def test_fifty_visitors_at_once_are_all_answered(picture: str) -> None:
    with desk(FakeEngine(), picture, FairUse()) as here, ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda n: here.answer("compare", f"{n}?", *COMPARE[1:], session=f"s{n}"), range(50)))
    assert all("event: complete" in text and f"a red ball {place}?" in text for place, text in enumerate(found))
    assert here.visits.under_way() == 0


def test_a_third_run_of_one_session_is_refused_in_a_sentence(picture: str) -> None:
    with desk(FakeEngine(), picture, FairUse()) as here:
        client = Client(here.url, verbose=False)
        with held(here.session, picture):
            jobs = [client.submit(handle_file(picture), "What?", api_name="/compare") for _ in range(3)]
            until(lambda: any(job.done() for job in jobs))
            ended = [job for job in jobs if job.done()]
            assert len(ended) == 1
            with pytest.raises(Exception, match="under way and another one waiting"):
                ended[0].result()
        assert [job.result(PATIENCE_S)[0] for job in jobs if job is not ended[0]] == ["a red ball What?"] * 2


def test_programs_that_name_no_session_are_one_visitor(picture: str) -> None:
    with desk(FakeEngine(), picture, FairUse()) as here, ThreadPoolExecutor(30) as pool:
        with held(here.session, picture):
            asked = [pool.submit(here.answer, "compare", f"{place}?", *COMPARE[1:]) for place in range(30)]
            until(lambda: sum(one.done() for one in asked) == 22)
            refused = [one.result() for one in asked if one.done()]
            assert all("event: error" in text and "programs of your network" in text for text in refused)
            page = pool.submit(here.answer, "compare", *COMPARE, session="page")
        told = [one.result() for one in asked]
        assert all(f"a red ball {place}?" in told[place] for place in range(30) if told[place] not in refused)
        assert "a red ball" in page.result()


def test_previews_are_answered_while_runs_fill_the_line(picture: str) -> None:
    with desk(FakeEngine(), picture, FairUse()) as here:
        here.session.preview("mini", picture, 0.5)  # somebody has seen this picture before
        with ThreadPoolExecutor(16) as pool, held(here.session, picture):
            runs = [pool.submit(here.answer, "compare", *COMPARE, session=f"s{place}") for place in range(12)]
            until(lambda: here.visits.under_way() == 12)
            previews = list(pool.map(lambda share: here.answer("overlay", share, "mini", "vscan"), (0.1, 0.2, 0.3)))
            assert all("first_cut" in text for text in previews) and not any(run.done() for run in runs)
        assert all("event: complete" in run.result() for run in runs)


def test_who_fills_the_queue_is_refused_and_others_are_not(picture: str) -> None:
    fair = FairUse(queued=5, runs_per_address=1000, listener_s=10)
    with desk(FakeEngine(), picture, fair) as here, held(here.session, picture):
        others = [here.post("compare", *COMPARE, session=f"s{place}") for place in range(64)]  # all that run at a time
        statuses = [here.post("compare", *COMPARE, session="mine").status_code for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2 and all(one.status_code == 200 for one in others)
        refused = here.post("compare", *COMPARE, session="mine").json()
        assert "5 requests waiting" in json.dumps(refused)
        assert here.post("compare", *COMPARE, session="other").status_code == 200


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (4, "x", "whole number of tokens from 1 to 64"),
        (4, None, "whole number of tokens from 1 to 64"),
        (4, -5, "whole number of tokens from 1 to 64"),
        (4, float("nan"), "whole number of tokens from 1 to 64"),
        (4, 0, "whole number of tokens from 1 to 64"),
        (1, "x" * 1000, "retention must be above 0"),
        (0, "\u200b", "question is empty"),
    ],
)
def test_bad_values_are_refused_in_one_sentence(picture: str, place: int, value: Any, sentence: str) -> None:
    engine, values = FakeEngine(), list(COMPARE)
    values[place] = value
    with pytest.raises(gr.Error, match=sentence) as caught:
        list(Endpoints(Session(engine)).compare(picture, *values))
    assert len(caught.value.message) < 150 and engine.ran == []


def test_a_page_that_waits_is_told_its_place_and_can_be_stopped(picture: str) -> None:
    with gr.Blocks():
        page = ComparePage(Session(FakeEngine()), [])
    follow, told = page.controls._until_stopped(page.runs.on_run), []
    with held(page.session, picture):
        steps = follow(None, *asked(picture), "mine")
        while not told or "Waiting" not in told[-1]:
            told.append(next(steps)[page.ask.status])
        assert told[-1] == "Waiting: 1 before you …"
        page.controls.on_stop("mine")
        assert [step[page.ask.status] for step in steps] == [STOPPED]
    assert not page.session.device("mini").busy
    assert "took" in list(follow(None, *asked(picture), "next"))[-1][page.ask.status]
    with held(page.session, picture):
        status = next(
            step[page.ask.status] for step in follow(None, *asked(picture), "third") if "W" in step[page.ask.status][0]
        )
        assert status.startswith("Waiting: 1 before you, about ") and status.endswith(" s …")


def test_a_page_that_asks_for_too_much_is_told_so(picture: str) -> None:
    with gr.Blocks():
        page = ComparePage(Session(FakeEngine()), [])
    follow = page.controls._until_stopped(page.runs.on_run)
    with held(page.session, picture):
        first, second = (follow(None, *asked(picture), name) for name in ("a", "b"))
        next(first)
        next(second)
        third = [step[page.ask.status] for step in follow(None, *asked(picture), "c")]
        assert len(third) == 1 and "another one waiting" in third[0]
        first.close()
        second.close()


def test_an_answer_that_takes_too_long_is_ended_and_the_next_one_runs(picture: str) -> None:
    engine = FakeEngine(pause_s=0.05, answer_words=("word",) * 400)
    session = Session(engine)
    opened = session.open(picture)
    whole = Asked("mini", session.model("mini"), opened.digest, opened.image, "What?", 400)
    device = session.device("mini")
    with pytest.raises(InputError, match="took longer than 2 s"):
        list(device.steps(lambda: turn(engine, session._baselines, whole, [], answer_s=2.0)))
    assert not device.busy and engine.alive == 0
    engine.answer_words, engine.pause_s = ("done",) * 5, 0.1  # each answer has its own time: together they take longer
    list(device.steps(lambda: turn(engine, session._baselines, whole, [lambda: None] * 3, answer_s=2.0)))
    assert engine.ran.count("baseline") == 5


def test_steps_of_a_visit_know_it_whichever_thread_asks(picture: str) -> None:
    from app.session.visitors import VISIT, Visit, Visitor, steps_in_visit

    def steps() -> Iterator[Any]:
        while True:
            yield VISIT.get()

    mine, seen = Visit(Visitor("a", "b")), []
    asks = steps_in_visit(mine, steps())  # type: ignore[arg-type]
    for _ in range(2):
        thread = threading.Thread(target=lambda: seen.append(next(asks)))
        thread.start()
        thread.join()
    assert seen == [mine, mine] and VISIT.get() is None
