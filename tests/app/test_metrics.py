"""Figures and log lines of a demo in service: they count what happened, and hold nothing that a visitor sent."""

from __future__ import annotations

import errno
import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app.server.logs import JsonLines, keep_pattern
from app.ui.faults import fault_kind
from tests.app.fake import TOKENS, FakeEngine
from tests.app.operating import Service, operating
from vscan_core.errors import InputError, OutOfMemory

SECRET = "sesame-open-wide"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with operating(FakeEngine(answer_words=(SECRET, "red", "ball"))) as found:
        yield found


@pytest.fixture
def secret_picture(tmp_path) -> str:
    path = tmp_path / f"{SECRET}.png"
    Image.radial_gradient("L").convert("RGB").save(path)
    return str(path)


@contextmanager
def json_lines() -> Iterator[io.StringIO]:
    """What a log in JSON would say meanwhile."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(keep_pattern)
    handler.setFormatter(JsonLines())
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield out
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def rise(service: Service, before: dict[str, float], name: str) -> float:
    return service.figures().get(name, 0.0) - before.get(name, 0.0)


def test_a_run_is_counted_and_logged_without_what_was_asked_or_answered(service, secret_picture) -> None:
    before = service.figures()
    with json_lines() as out:
        client = Client(service.url, verbose=False)
        given = handle_file(secret_picture), f"{SECRET}?", 0.25, "mini", "vscan", 8
        texts = client.predict(*given, api_name="/compare")[:2]
        # a page and a log line of every kind that fails
        with pytest.raises(AppError):
            client.predict(*given[:4], SECRET, 8, api_name="/compare")
    assert SECRET in texts[0], "or the test proves nothing"
    run, answers = "vscan_runs_total{end=done,model=mini}", "vscan_stage_seconds_count{stage=prefill}"
    assert rise(service, before, run) == 1 and rise(service, before, answers) == 2
    for stage, seconds in {"vision": 2 * 0.0215, "reduce": 0.0013, "decode": 2 * 0.05}.items():
        assert rise(service, before, f"vscan_stage_seconds_sum{{stage={stage}}}") == pytest.approx(seconds)
    assert rise(service, before, "vscan_visual_tokens_total{kind=in}") == TOKENS
    assert rise(service, before, "vscan_visual_tokens_total{kind=kept}") == pytest.approx(TOKENS / 4, rel=0.1)
    assert rise(service, before, "vscan_refused_total{reason=input}") == 1
    assert rise(service, before, "vscan_requests_total{route=/gradio_api/upload,status=200}") == 2
    now = service.figures()
    assert now["vscan_model_loaded{model=mini}"] == 1 and now["process_resident_memory_bytes"] > 1e6
    assert now["vscan_running"] == now["vscan_queue_length"] == 0
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    told = [line for line in lines if line["event"] == "answer"]
    assert [line["method"] for line in told] == ["baseline", "vscan"] and told[1]["tokens_in"] == TOKENS
    assert all(line["request"] for line in lines if line["event"] == "request")
    assert SECRET not in out.getvalue()


def test_a_run_that_is_left_and_one_that_fails_are_told_apart(service, secret_picture) -> None:
    session, before = service.operations.session, service.figures()
    left = session.compare("mini", secret_picture, "What?", 0.25)
    next(left)
    assert service.figures()["vscan_running"] == 1
    left.close()
    session.engine.fails_with = RuntimeError(f"cannot read {SECRET}")
    try:
        with pytest.raises(RuntimeError):
            [*session.compare("mini", secret_picture, "What is it?", 0.25)]
    finally:
        session.engine.fails_with = None
    for name in ("vscan_runs_total{end=left,model=mini}", "vscan_runs_total{end=failed,model=mini}"):
        assert rise(service, before, name) == 1
    assert rise(service, before, "vscan_errors_total{kind=internal}") == 1
    assert service.figures()["vscan_running"] == service.figures()["vscan_queue_length"] == 0


def test_a_run_that_waits_is_in_the_queue(service, secret_picture) -> None:
    session = service.operations.session
    first, second = (session.compare("mini", secret_picture, question, 0.25) for question in ("One?", "Two?"))
    next(first)
    assert next(second) is None
    now = service.figures()
    assert (now["vscan_running"], now["vscan_queue_length"]) == (1, 1)
    second.close()
    first.close()
    assert service.figures()["vscan_queue_length"] == 0


def test_refused_requests_count_by_reason_and_unknown_paths_are_one_route(service) -> None:
    before = service.figures()
    for path in (SECRET, f"{SECRET}/2", "gradio_api/dev/reload"):
        assert httpx.get(f"{service.url}{path}").status_code == 404
    now = service.figures()
    assert now["vscan_requests_total{route=other,status=404}"] - before.get(
        "vscan_requests_total{route=other,status=404}", 0
    ) == 3  # fmt: skip
    refused = [name for name in now if name.startswith("vscan_refused_total") and now[name] > before.get(name, 0)]
    assert len(refused) == 1 and not [name for name in now if SECRET in name]


def test_every_answer_names_its_request(service) -> None:
    names = {service.get(path).headers["x-request-id"] for path in ("healthz", "config", "nothing")}
    assert len(names) == 3


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InputError("no"), None),
        (OutOfMemory("no"), "memory"),
        (MemoryError(), "memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (PermissionError(errno.EACCES, "Permission denied"), "disk"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "internal"),
        (KeyError("x"), "internal"),
    ],
)
def test_kinds_of_failures(error, kind) -> None:
    assert fault_kind(error) == kind


def test_a_json_line_quotes_neither_libraries_nor_failures_and_is_short() -> None:
    with json_lines() as out:
        other, ours = logging.getLogger("some.library"), logging.getLogger("app.test")
        other.warning("cannot open %s", SECRET)
        with suppress(OSError):
            try:
                Path(f"/nowhere/{SECRET}").read_bytes()
            except OSError as error:
                ours.error("failure %s", "abc123", exc_info=error)
                raise
        ours.info("answer", extra={"model": "m" * 10_000, "question": SECRET, "ms": 1.5})
    first, second, third = (json.loads(line) for line in out.getvalue().splitlines())
    assert first["event"] == "cannot open %s" and SECRET not in out.getvalue()
    assert second["event"] == "failure abc123" and second["error"] == "FileNotFoundError"
    assert any(place.startswith("test_metrics.py:") for place in [*second["where"], "test_metrics.py:"])
    assert third["ms"] == 1.5 and len(json.dumps(third)) < 1000 and "question" not in third
