"""The chat endpoint comes through the same door as everything else: limits, line, drain, faults, login, figures."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import openai
import pytest

from app.server import operations
from app.server.drain import CUT_OFF, DRAINING
from app.server.limits import MAX_CHAT, MAX_FILE, DoorLimits
from app.server.programs import chat_endpoint
from app.session.visitors import PROGRAM, Visitor
from tests.app.fake import FakeEngine
from tests.app.operating import Service, operating
from tests.app.server.asking import asked, data_url, happens, openai_client
from tests.app.server.served import door_open

PATH = "v1/chat/completions"
LONG = ("word",) * 600  # half a minute
DONE = "data: [DONE]"


@pytest.fixture(scope="module")
def url(picture_file: str) -> str:
    return data_url(picture_file)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with operating(FakeEngine(), requests_per_minute=1000) as found:
        yield found


@contextmanager
def slow_service(**settings: Any) -> Iterator[tuple[Service, FakeEngine]]:
    """A word every 50 ms."""
    engine = FakeEngine(pause_s=0.05, answer_words=LONG)
    with operating(engine, **{"answer_tokens": len(LONG), **settings}) as found:
        yield found, engine


def post(service: Service, content: Any, **more: Any) -> httpx.Response:
    return httpx.post(f"{service.url}{PATH}", json=content, **{"timeout": 60, **more})


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """In OpenAI's format, and one sentence."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"].endswith(".")
    assert "Traceback" not in answer.text and len(answer.text) < 1000
    return error


def rise(service: Service, before: dict[str, float], name: str) -> float:
    return service.figures().get(name, 0.0) - before.get(name, 0.0)


def head_of(length: int) -> bytes:
    head = f"POST /{PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}"
    return head.encode() + b"\r\n\r\n"


@contextmanager
def begun(service: Service, engine: FakeEngine, content: dict[str, Any]) -> Iterator[socket.socket]:
    """A connection on which a run is under way; what comes is not read."""
    body = json.dumps(content).encode()
    with socket.create_connection(("127.0.0.1", service.operations.settings.port)) as connection:
        connection.sendall(head_of(len(body)) + body)
        assert happens(lambda: engine.alive == 1)
        yield connection


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_its_run(url, stream) -> None:
    with slow_service() as (service, engine):
        with begun(service, engine, asked(url, stream=stream)):
            pass
        assert happens(lambda: engine.alive == 0 and service.operations.session.visits.under_way() == 0)
        assert engine.steps < len(LONG)
        assert service.figures()["vscan_runs_total{end=left,model=mini}"] == 1


def test_one_run_at_a_time_and_who_waits_is_told_and_may_leave(url, monkeypatch) -> None:
    monkeypatch.setattr(chat_endpoint, "QUIET_S", 0.2)
    with slow_service() as (service, engine):
        with begun(service, engine, asked(url)) as first:
            second = asked(url, stream=True, max_tokens=2)
            with httpx.stream("POST", f"{service.url}{PATH}", json=second, timeout=60) as answer:
                lines = answer.iter_lines()
                assert any(line == ": waiting" for line in lines) and engine.alive == 1 and len(engine.limits) == 1
                first.close()
                assert [line for line in lines if line][-1] == DONE
        with begun(service, engine, asked(url)) as first:
            with pytest.raises(httpx.ReadTimeout):
                post(service, asked(url), timeout=httpx.Timeout(20, read=0.5))
            assert happens(lambda: service.operations.session.visits.under_way() == 1) and len(engine.limits) == 3


def test_what_one_program_may_have_at_once_and_in_a_minute(service, url) -> None:
    visits = service.operations.session.visits
    with ExitStack() as stack:
        for _ in range(visits.fair.runs_of_programs):
            stack.enter_context(visits.run(Visitor(PROGRAM, "127.0.0.1")))
        many = post(service, asked(url))
    assert many.status_code == 429 and "have enough runs under way" in error_of(many)["message"]
    with operating(FakeEngine(), requests_per_minute=1) as strict:
        assert post(strict, asked(url)).status_code == 200
        often = post(strict, asked(url))
        assert often.status_code == 429 and often.headers["retry-after"] == "5"
        error = error_of(often)
        assert "within a minute" in error["message"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")


def test_an_answer_that_takes_too_long_is_ended_and_told(url) -> None:
    with slow_service(answer_seconds=0.3) as (service, engine):
        whole = post(service, asked(url))
        assert whole.status_code == 400 and "took longer" in error_of(whole)["message"]  # 400: nobody asks again
        with pytest.raises(openai.APIError, match="took longer"):
            list(openai_client(service).chat.completions.create(**asked(url, stream=True)))
        assert DONE not in post(service, asked(url, stream=True)).text
        assert happens(lambda: engine.alive == 0)


def test_a_server_that_stops_takes_no_more_and_tells_those_whom_it_cuts_off(url) -> None:
    with slow_service() as (service, engine):
        found: list[str] = []
        reading = threading.Thread(target=lambda: found.append(post(service, asked(url, stream=True)).text))
        reading.start()
        assert happens(lambda: engine.alive == 1)
        service.operations.drain.draining = True
        refused = post(service, asked(url))
        assert refused.status_code == 503 and error_of(refused)["message"] == DRAINING
        service.operations.drain.over = True
        reading.join()
        assert CUT_OFF in found[0] and DONE not in found[0]
        assert rise(service, {}, "vscan_refused_total{reason=draining}") == 1


@pytest.mark.parametrize(
    ("failure", "status", "kind", "words"),
    [
        (RuntimeError("secret-of-the-server"), 500, "internal", "Something went wrong on the server (code"),
        (MemoryError("no room"), 503, "memory", "short of memory"),
        (OSError(28, "No space left on device"), 507, "disk", "no room for another file"),
    ],
)
def test_failures_are_told_without_details_and_counted_once(url, failure, status, kind, words) -> None:
    with operating(FakeEngine(fails_with=failure)) as service:
        answer = post(service, asked(url))
        error = error_of(answer)
        assert answer.status_code == status and words in error["message"] and error["type"] == "server_error"
        assert "secret" not in answer.text
        assert service.figures()[f"vscan_errors_total{{kind={kind}}}"] == 1
        assert not [name for name in service.figures() if "refused_total" in name]
        stream = post(service, asked(url, stream=True))
        assert stream.status_code == status, "nothing had been said yet"


def test_requests_are_counted_by_route_and_refusals_once(service, url) -> None:
    before = service.figures()
    assert post(service, asked(url)).status_code == 200
    assert post(service, asked(url, temperature=1)).status_code == 400  # refused when it is read
    assert post(service, asked(url), headers={"origin": "http://elsewhere.example"}).status_code == 403  # by the door
    picky = asked(url, vscan={"method": "picky", "retention": 0.1})
    assert "<b>higher</b>" in error_of(post(service, picky))["message"]  # by the run; JSON is no HTML
    route = "route=/v1/chat/completions"
    assert rise(service, before, f"vscan_requests_total{{{route},status=400}}") == 2
    assert rise(service, before, "vscan_refused_total{reason=input}") == 2
    assert sum(rise(service, before, name) for name in service.figures() if "refused_total" in name) == 3
    assert rise(service, before, "vscan_runs_total{end=done,model=mini}") == 1


def test_bodies_are_bounded_and_refusals_below_v1_have_openai_s_form(service) -> None:
    large = post(service, asked("data:image/png;base64," + "A" * (MAX_FILE * 4 // 3 + 40)))
    assert large.status_code == 413 and error_of(large)["param"] == "messages"
    head = {"content-type": "application/json"}
    larger = httpx.post(f"{service.url}{PATH}", content=b" " * (MAX_CHAT + 1), headers=head, timeout=60)
    assert larger.status_code == 413 and error_of(larger)["type"] == "invalid_request_error"
    most = httpx.post(f"{service.url}{PATH}", content=b" " * MAX_CHAT, headers=head, timeout=60)
    assert most.status_code == 400 and "JSON" in error_of(most)["message"]
    assert httpx.post(f"{service.url}{PATH}", data={"a": "b"}).status_code == 415
    for path, method, status in ((PATH, "GET", 405), ("v1/embeddings", "POST", 404), ("v1/models", "POST", 405)):
        answer = httpx.request(method, f"{service.url}{path}")
        assert answer.status_code == status and error_of(answer)
    assert httpx.get(f"{service.url}nothing").json()["detail"], "elsewhere, refusals have Gradio's form"


def test_a_login_is_asked_of_programs_too(url, monkeypatch) -> None:
    monkeypatch.setattr(operations, "WRONG_LOGIN_S", 0.01)
    with operating(FakeEngine(), login="guest:correct:horse") as service:
        for key in ("none", "guest:wrong", "guest"):
            with pytest.raises(openai.AuthenticationError, match="user:password as the API key") as caught:
                openai_client(service, key).chat.completions.create(**asked(url))
            assert caught.value.code == "invalid_api_key"
        assert httpx.get(f"{service.url}v1/models").status_code == 401
        assert openai_client(service, "guest:correct:horse").models.list().data
        assert openai_client(service, "guest:correct:horse").chat.completions.create(**asked(url)).choices


def test_who_sends_pictures_slowly_keeps_no_page_waiting() -> None:
    """So many of these bodies are read at once, since they are held in memory; uploads have a line of their own."""
    with door_open(DoorLimits(chats=1, upload_wait_seconds=0.2, idle_seconds=30, linger_seconds=0.1)) as door:
        head = (
            f"POST /{PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", door.port)) as slow:
            slow.sendall(head.encode() + b"{")
            assert happens(lambda: door.post(f"/{PATH}", json={}).status_code == 503)
            assert door.upload(b"abc").status_code == 200 and door.get("/config").status_code == 200
        assert happens(lambda: door.post(f"/{PATH}", json={}).status_code == 404), "this door has no such route"
