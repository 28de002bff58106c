"""How much one visitor may have: runs at once and per minute, uploads, models; and which values are accepted."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.refusals import Refusal, refusal_response
from app.server.upload_gate import UPLOAD_PATH, UploadGate
from app.session.engine import Engine
from app.session.inputs import check_length, check_share, check_visible
from app.session.offer import CANNOT_RUN, NOT_LOADED, PATIENT, OfferedEngine, in_patient_thread
from app.session.quotas import FairUse, Rates
from app.session.uploads import Uploads
from app.session.visitors import Visitor, Visits
from tests.app.test_line import Clock
from vscan_core.errors import InputError

HERE, THERE = Visitor("a", "192.0.2.1"), Visitor("b", "192.0.2.1")


def test_a_third_run_of_a_visitor_is_refused_until_one_has_ended() -> None:
    visits = Visits()
    first, second = visits.run(HERE), visits.run(HERE)
    first.__enter__()
    second.__enter__()
    with pytest.raises(InputError, match="under way and another one waiting"), visits.run(HERE):
        pass
    with visits.run(THERE):
        assert visits.under_way() == 3
    first.__exit__(None, None, None)
    with visits.run(HERE):
        assert visits.under_way() == 2
    second.__exit__(None, None, None)
    assert visits.under_way() == 0


def test_an_address_with_many_sessions_is_bounded_too() -> None:
    visits = Visits(FairUse(runs_per_address=1))
    with visits.run(HERE):
        with pytest.raises(InputError, match="your network"), visits.run(THERE):
            pass
        with visits.run(Visitor("c", "192.0.2.2")):
            pass


def test_runs_per_minute_are_bounded_and_a_refused_run_holds_nothing() -> None:
    visits = Visits(FairUse(runs_per_minute=2, runs_per_minute_and_address=3))
    for visitor in (HERE, HERE, THERE):
        with visits.run(visitor):
            pass
    for visitor, most in ((HERE, "2 runs"), (THERE, "3 runs")):
        with pytest.raises(InputError, match=rf"{most} within a minute; please go on in \d+ s"), visits.run(visitor):
            pass
    assert visits.under_way() == 0


def test_kinds_are_counted_apart() -> None:
    rates = Rates()
    rates.count("runs", "a", 1)
    rates.count("uploads", "a", 1)
    rates.count("runs", "b", 1)
    with pytest.raises(InputError):
        rates.count("runs", "a", 1)


@pytest.mark.parametrize("value", ["x", "8", None, float("nan"), float("inf"), 0, -5, 65, 1.5, True, [], "x" * 150_000])
def test_a_length_limit_is_a_whole_number_from_1_to_64(value: Any) -> None:
    with pytest.raises(InputError, match="whole number of tokens from 1 to 64, but is") as caught:
        check_length(value, 64)
    assert len(str(caught.value)) < 150


def test_whole_numbers_pass_in_every_form() -> None:
    assert [check_length(value, 64) for value in (1, 64, 8.0)] == [1, 64, 8]
    assert [check_share(value) for value in (1, 0.111, 1e-9)] == [1.0, 0.111, 1e-9]


@pytest.mark.parametrize("value", ["x" * 150_000, None, float("nan"), float("inf"), 0, -1, 1.01, True, {"a": 1}])
def test_a_share_lies_above_0_and_at_most_at_1(value: Any) -> None:
    with pytest.raises(InputError, match="retention must be above 0 and at most 1") as caught:
        check_share(value)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    "question", ["", "  \n", "\u200b\u200d\ufeff", "\x00\x07", "\u2060 \u00ad", "\u3164", "\ufe0f"]
)
def test_a_question_of_nothing_visible_is_empty(question: str) -> None:
    with pytest.raises(InputError, match="question is empty"):
        check_visible(question)


@pytest.mark.parametrize("question", ["?", "a\u200bb", "图中有什么", "🙂", "7"])
def test_a_question_with_something_visible_is_left_as_it_is(question: str) -> None:
    assert check_visible(question) == question


def test_an_address_may_keep_so_many_bytes(tmp_path: Path) -> None:
    clock = Clock()
    uploads = Uploads(tmp_path, FairUse(upload_bytes=1000, upload_kept_s=100), clock)
    uploads.admit("a", 600)
    uploads.admit("b", 600)
    with pytest.raises(InputError, match="within the last two hours"):
        uploads.admit("a", 600)
    clock.now += 101
    uploads.admit("a", 600)


def test_a_full_folder_is_tidied_step_by_step_and_then_refuses(tmp_path: Path) -> None:
    ages: list[int] = []
    files = {name: tmp_path / f"{name}.png" for name in ("old", "young", "new")}
    for file in files.values():
        file.write_bytes(b"x" * 300)

    def tidy(age_s: int) -> None:
        ages.append(age_s)
        files["old" if age_s == 3600 else "young"].unlink()

    uploads = Uploads(tmp_path, FairUse(all_upload_bytes=1000))
    uploads.admit("a", 50, tidy)
    assert ages == []
    uploads.admit("a", 200, tidy)
    assert ages == [3600] and uploads.folder_bytes() == 600
    files["old"].touch()
    with pytest.raises(InputError, match="no room"):
        uploads.admit("a", 700, tidy)
    assert ages == [3600, 3600, 600] and uploads.folder_bytes() == 300


def test_uploads_that_arrive_at_once_are_all_counted(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, FairUse(all_upload_bytes=1000))
    uploads.admit("a", 600)
    with pytest.raises(InputError, match="no room"):
        uploads.admit("b", 600)


class Answered:
    """Answers what is refused, as the door does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Refusal as refusal:
            await refusal_response(refusal, scope)(scope, receive, send)


def test_the_gate_refuses_in_one_sentence_and_lets_everything_else_pass(tmp_path: Path) -> None:
    async def read(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    uploads = Uploads(tmp_path, FairUse(upload_bytes=1000, all_upload_bytes=1500, uploads_per_minute=5))
    routes = [Route("/{path:path}", read, methods=["GET", "POST"])]
    client = TestClient(
        Starlette(routes=routes, middleware=[Middleware(Answered), Middleware(UploadGate, uploads=uploads)])
    )
    assert client.post(UPLOAD_PATH, content=b"x" * 600).text == "600"
    refused = client.post(UPLOAD_PATH, content=b"x" * 600)
    assert refused.status_code == 429 and refused.json()["error"].startswith("You have uploaded")
    assert client.post("/gradio_api/queue/join", content=b"x" * 6000).status_code == 200
    assert client.get(UPLOAD_PATH).status_code == 200
    client = TestClient(client.app, client=("192.0.2.9", 1))
    assert client.post(UPLOAD_PATH, content=b"x" * 950).status_code == 507
    statuses = [client.post(UPLOAD_PATH, content=b"x").status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 200, 429]


def test_only_what_the_operator_allows_is_on_offer() -> None:
    assert set(OfferedEngine().models()) == set(Engine().models())
    assert set(OfferedEngine(["mini"], public=True).models()) == {"mini"}
    public = OfferedEngine(public=True).models()
    assert "mini" in public and not any(name.startswith("dummy:") for name in public)
    assert any(name.startswith("dummy:") for name in OfferedEngine().models())


def test_reasons_for_the_operator_are_logged_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(self: Engine, name: str) -> Any:
        raise InputError("HF_HUB_OFFLINE is set; pip install something into /srv/models")

    monkeypatch.setattr(Engine, "load", fails)
    monkeypatch.setattr(Engine, "unavailable", lambda *_: "HF_HUB_OFFLINE is set")
    engine = OfferedEngine(public=True)
    with pytest.raises(InputError) as caught:
        engine.load("mini")
    assert str(caught.value) == NOT_LOADED and engine.unavailable("mini") == CANNOT_RUN
    assert "/srv/models" in caplog.text
    with pytest.raises(InputError, match="/srv/models"):
        OfferedEngine().load("mini")


def test_a_model_is_loaded_in_a_thread_that_others_go_before() -> None:
    def look() -> tuple[int, int]:
        return threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    if not Path("/proc/self/task").exists():
        pytest.skip("threads have no priority of their own here")
    mine, usual = look()
    other, patient = in_patient_thread(look)
    assert other != mine and patient == PATIENT > usual
    assert look() == (mine, usual)
    with pytest.raises(KeyError):
        in_patient_thread(lambda: {}["missing"])
