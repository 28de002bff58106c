"""What JSON bodies ask for: endpoints, values and files."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio as gr
import httpx
import pytest

from app.server.fetching import FETCHERS
from app.server.payloads import MAX_DEPTH
from tests.app.server.served import Door, canary, sentence

FILE = {"meta": {"_type": "gradio.FileData"}}


def overlay(picture: Any) -> list[Any]:
    return [picture, 0.2, "mini", "vscan"]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


FOREIGN: list[Any] = [
    {**FILE, "path": "http://HOST/a.png"}, {**FILE, "path": "HTTPS://HOST/a.png"}, {**FILE, "path": "//HOST/a"},
    {**FILE, "path": " http://HOST/a.png"}, {**FILE, "path": "data:image/png;base64,AAAA"}, {**FILE, "path": None},
    {**FILE, "path": "/etc/passwd"}, {**FILE, "path": "etc/passwd"}, {**FILE, "path": "/tmp/gradio/../../etc/passwd"},
    {**FILE, "path": None, "url": "http://HOST/a.png"}, {**FILE, "path": "/tmp/gradio/a\n", "url": None},
    {**FILE, "path": ["http://HOST/a"]}, {**FILE, "path": {"path": "http://HOST/a"}}, {**FILE},
    {**FILE, "path": "/tmp/gradio/a", "is_stream": True}, {"meta": {"_type": "gradio.Other"}, "path": "/tmp/gradio/a"},
    {"path": "http://HOST/a.png"}, {"url": "http://HOST/a.png"}, {"url": "data:image/png;base64,AAAA"},
    {"path": "\\\\HOST\\a"}, {"path": "file:///etc/passwd"}, {"path": "ftp://HOST/a", "meta": None},
    [{"deep": [{"path": "http://HOST/a"}]}], {"video": {**FILE, "path": "http://HOST/a"}}, "http://HOST/a.png",
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(FOREIGN)))
def test_files_are_uploads_and_nothing_is_fetched(door: Door, number: int) -> None:
    with canary() as (place, asked):
        picture = json.loads(json.dumps(FOREIGN[number]).replace("HOST", place))
        for answer in (
            door.join(overlay(picture)),
            door.post("/gradio_api/call/overlay", json={"data": overlay(picture)}),
            door.post("/gradio_api/call/v2/overlay", json={"image": picture}),
        ):
            assert answer.status_code in (400, 422), answer.text
            assert sentence(answer)
    assert asked == []


def test_an_upload_is_taken_and_its_address_is_not_asked(door: Door) -> None:
    with canary() as (place, asked):
        [own] = door.upload(b"mine").json()
        for url in (None, f"http://{place}/a.png", f"{door.url}/gradio_api/file={own}"):
            answer = door.join(overlay({**FILE, "path": own, "url": url}))
            assert answer.status_code == 200 and answer.json()["event_id"]
    assert asked == []


def test_what_gradio_fetches_with_is_gone(door: Door) -> None:
    """Whatever way leads there: nothing below the door can fetch."""
    assert door.get("/healthz").status_code == 200  # the server has started
    for module, name in FETCHERS:
        fetcher = getattr(module, name)
        with (
            ThreadPoolExecutor(1) as pool,
            canary() as (place, asked),
            pytest.raises(gr.Error, match="fetches no files"),
        ):
            result = fetcher(f"http://{place}/a", "/tmp")
            pool.submit(asyncio.run, result).result()
        assert asked == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"fn_index": 99999}, 404), ({"fn_index": -1}, 404), ({"fn_index": "overlay"}, 422), ({"fn_index": None}, 404),
        ({"fn_index": 1.5}, 422), ({"fn_index": []}, 422), ({"session_hash": None}, 400), ({"session_hash": ""}, 400),
        ({"session_hash": "a" * 65}, 400), ({"session_hash": 3}, 422), ({"session_hash": {}}, 422),
        ({"batched": True}, 400), ({"trigger_id": "x"}, 422), ({"data": None}, 422), ({"data": {}}, 422),
        ({"data": "abcd"}, 422), ({"data": []}, 422), ({"data": [None] * 3}, 422), ({"data": [None] * 5}, 422),
        ({"data": [None] * 5000}, 422), ({"data": [None, "0.2", "mini", "vscan"]}, 422),
        ({"data": [None, True, "mini", "vscan"]}, 422), ({"data": [None, [], "mini", "vscan"]}, 422),
        ({"data": [None, 0.2, 7, "vscan"]}, 422), ({"data": [None, 0.2, {"a": 1}, "vscan"]}, 422),
        ({"data": [7, 0.2, "mini", "vscan"]}, 422), ({"data": [None, 0.2, "mini", ["vscan"]]}, 422),
        ({"data": nested(MAX_DEPTH + 5)}, 400),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_before_the_queue(door: Door, change: dict[str, Any], status: int) -> None:
    answer = door.join(**{"data": overlay(None), **change})
    assert answer.status_code == status, answer.text
    assert len(sentence(answer)) < 300 and door.failed == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"7", b"null", b'"x"', b"[" * 100_000, b'{"a":' * 30_000, b"\xff\xfe", b'{"data": [NaN]}',
        b'{"data": [1e999]}', b'{"data": [Infinity]}', '{"data": []}'.encode("utf-16"), b'{"data": ["\\ud800"]}',
        b'{"data": [' + b"9" * 5000 + b"]}", b"data=1",
    ],
)  # fmt: skip
def test_bodies_that_are_not_json(door: Door, body: bytes) -> None:
    for path in ("queue/join", "call/overlay", "call/v2/overlay", "cancel", "reset", "run/predict"):
        answer = door.post(f"/gradio_api/{path}", content=body, headers={"content-type": "application/json"})
        assert 400 <= answer.status_code < 500 and sentence(answer), answer.text
    assert door.failed == []


def test_json_has_to_say_that_it_is(door: Door) -> None:
    """A page of another site could send anything else without asking."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonp"):
        assert door.post("/gradio_api/queue/join", content=b"{}", headers={"content-type": kind}).status_code == 415


def test_endpoints_that_do_not_exist(door: Door) -> None:
    for path in ("call/nothing", "call/v2/nothing", "call/on_open", "call/%2e%2e", "call/" + "a" * 200):
        answer = door.post(f"/gradio_api/{path}", json={"data": []})
        assert answer.status_code == 404 and sentence(answer)
    assert door.post("/gradio_api/call/overlay", json={"data": []}).status_code == 422
    assert "image, retention" in sentence(door.post("/gradio_api/call/v2/overlay", json={"picture": None}))
    assert "missing" in sentence(door.post("/gradio_api/call/v2/overlay", json={}))
    assert door.failed == []


def test_what_is_made_for_the_queue_does_not_run_past_it(door: Door) -> None:
    for name in ("overlay", "compare"):
        body = {"data": overlay(None), "session_hash": "abc", "fn_index": door.index(name)}
        for path in ("run/predict", f"run/{name}"):
            assert door.post(f"/gradio_api/{path}", json=body).status_code == 404
    assert door.post("/gradio_api/run/overlay", json={"data": overlay(None), "session_hash": "abc"}).status_code == 404
    quick = {each.api_name for each in door.demo.fns.values() if each.fn and not each.queue}
    assert quick and all(name.startswith(("on_stop", "on_end")) for name in quick), "no work is done past the queue"


def test_streams_of_nobody_end_without_a_traceback(door: Door, capfd: pytest.CaptureFixture[str]) -> None:
    for path in ("queue/data?session_hash=nobody", "call/overlay/nothing", "call/v2/overlay/nothing"):
        with httpx.stream("GET", f"{door.url}/gradio_api/{path}", timeout=20) as answer:
            assert "Traceback" not in "".join(answer.iter_text())
    assert "Traceback" not in capfd.readouterr().err and door.failed == []


def test_a_question_may_speak_of_addresses(door: Door) -> None:
    values = [None, "What is at http://example.org/a.png or data:x?", 0.2, "mini", "vscan", 4]
    assert door.post("/gradio_api/call/compare", json={"data": values}).status_code == 200
