"""The guard in front of Gradio, and the options that the demo starts with."""

from __future__ import annotations

import inspect

import gradio as gr
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app.__main__ import launch_options
from app.server.guard import HEADERS, MAX_JSON, MAX_UPLOAD, app_kwargs


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture(scope="module")
def client() -> TestClient:
    options = app_kwargs()
    routes = [*options["routes"], Route("/{path:path}", echo, methods=["GET", "POST"])]
    return TestClient(Starlette(routes=routes, middleware=options["middleware"]))


def file_data(**fields: str) -> dict[str, object]:
    return {"data": [{"meta": {"_type": "gradio.FileData"}, **fields}], "fn_index": 0}


def test_health(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def test_every_answer_has_the_security_headers(client: TestClient) -> None:
    for response in (client.get("/healthz"), client.get("/gradio_api/file=http://x.org"), client.post("/a", json={})):
        assert all(response.headers[name] == value for name, value in HEADERS.items())


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://example.org/a.png",
        "/gradio_api/file=https://example.org/a.png",
        "/gradio_api/file=HTTPS://example.org/a.png",
        "/gradio_api/file=%68ttp://169.254.169.254/",
        "/gradio_api/file=//example.org/a.png",
        "/gradio_api/proxy=https://example.org/a.png",
        "/file=http://example.org/a.png",
    ],
)
def test_it_is_no_proxy_for_other_servers(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 403


def test_own_files_pass(client: TestClient) -> None:
    assert client.get("/gradio_api/file=/tmp/gradio/a.png").status_code == 200


@pytest.mark.parametrize(
    "payload",
    [
        file_data(path="http://169.254.169.254/a"),
        file_data(path="https://example.org/a.png"),
        file_data(path="HTTPS://example.org/a.png"),
        file_data(path="data:image/png;base64,AAAA"),
        file_data(url="data:image/png;base64,AAAA"),
        {"data": [{"deep": [{"path": "http://example.org"}]}]},
    ],
)
def test_files_must_be_uploads(client: TestClient, payload: dict[str, object]) -> None:
    assert client.post("/gradio_api/queue/join", json=payload).status_code == 400


def test_an_uploaded_file_passes(client: TestClient) -> None:
    payload = file_data(path="/tmp/gradio/a.png", url="http://127.0.0.1/gradio_api/file=/tmp/gradio/a.png")
    assert client.post("/gradio_api/queue/join", json=payload).status_code == 200


def test_words_about_addresses_in_a_question_pass(client: TestClient) -> None:
    assert client.post("/gradio_api/queue/join", json={"data": ["http://example.org"]}).status_code == 200


@pytest.mark.parametrize(("path", "limit"), [("/gradio_api/queue/join", MAX_JSON), ("/gradio_api/upload", MAX_UPLOAD)])
def test_bodies_are_limited(client: TestClient, path: str, limit: int) -> None:
    assert client.post(path, content=b" " * limit).text == str(limit)
    assert client.post(path, content=b" " * (limit + 1)).status_code == 413
    chunks = (b" " * 100_000 for _ in range(limit // 100_000 + 2))  # no content-length
    assert client.post(path, content=chunks).status_code == 413


def test_nonsense_lengths_and_bodies_do_not_crash_it(client: TestClient) -> None:
    assert client.post("/a", content=b"x", headers={"content-length": "-1"}).status_code == 413
    assert client.post("/a", content=b"[" * 50_000).status_code == 200
    assert client.post("/a", content=b"\xff\xfe").status_code == 200


def test_the_launch_options_exist_in_this_gradio_and_are_cautious() -> None:
    options = launch_options("127.0.0.1", 7860)
    assert set(options) <= set(inspect.signature(gr.Blocks.launch).parameters)
    assert options["run_history"] is options["enable_monitoring"] is options["show_error"] is False
    assert options["strict_cors"] and options["max_file_size"] <= 10_000_000
