"""SIGTERM: the process takes no new runs, lets answers finish or says that they cannot, and ends with status 0."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from app.server.drain import CUT_OFF, DRAINING
from tests.app.operating import free_port

ROOT = Path(__file__).parents[2]
PATIENCE_S = 180
# the demo on the fake engine: `words` of 50 ms each, `drain_seconds` to finish them
SERVED = """
import sys
from app.__main__ import serve
from app.server.drain import StopSignal
from app.server.logs import begin_logging
from app.server.operations import Operations
from tests.app.fake import FakeEngine
from tests.app.operating import settings_of
port, words, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
stop = StopSignal()
begin_logging(True)
engine = FakeEngine(pause_s=0.05, answer_words=("word",) * words)
operations = Operations(settings_of(port=port, drain_seconds=seconds, log_format="json"), engine)
operations.session.model("mini")
serve(operations, None, stop)
"""


def waited_for(what: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if what():
                return True
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    return False


@contextmanager
def process(*command: str, port: int) -> Iterator[subprocess.Popen[str]]:
    """A demo in a process of its own, once it is alive; the proxy of its network does not know it."""
    own = os.environ | {"PYTHONPATH": str(ROOT), "VSCAN_MODEL": "", "HF_HUB_OFFLINE": "1"}
    own |= dict.fromkeys(("HTTP_PROXY", "http_proxy"), f"http://127.0.0.1:{free_port()}")
    own |= dict.fromkeys(("NO_PROXY", "no_proxy"), "intranet.example")
    running = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=own, stderr=subprocess.PIPE, text=True)
    try:
        alive = waited_for(lambda: running.poll() is not None or get(port, "healthz").status_code == 200)
        assert alive, f"not alive after {PATIENCE_S} s"
        assert running.poll() is None, running.stderr.read() if running.stderr else ""
        yield running
    finally:
        running.kill()
        running.wait()


def get(port: int, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{port}/{path}", timeout=20)


def under_way(port: int) -> bool:
    return "vscan_running 1.0" in get(port, "metrics").text


def asked_to_stop(running: subprocess.Popen[str], port: int) -> None:
    running.send_signal(signal.SIGTERM)
    assert waited_for(lambda: get(port, "readyz").json()["reasons"] == ["The server is about to stop."])
    assert get(port, "readyz").status_code == 503 and get(port, "healthz").status_code == 200


@pytest.mark.parametrize(("words", "seconds", "finishes"), [(60, 120, True), (60, 0.5, False)])
def test_answers_under_way_finish_or_are_told_and_new_ones_are_refused(picture, words, seconds, finishes) -> None:
    port = free_port()
    with process("-c", SERVED, str(port), str(words), str(seconds), port=port) as running:
        client = Client(f"http://127.0.0.1:{port}/", verbose=False)
        asked = handle_file(picture), "What is there?", 0.5, "mini", "vscan", 64
        first = client.submit(*asked, api_name="/compare")
        assert waited_for(lambda: under_way(port))
        if finishes:
            asked_to_stop(running, port)
            second = client.submit(*asked[:1], 0.5, "mini", "vscan", api_name="/overlay")  # no run: it is served
            third = client.submit(*asked[:2], "0.5", "mini", "vscan", api_name="/sweep")
            assert first.result(PATIENCE_S)[1].count("word") == words, "the answer that was under way is complete"
            assert second.result(PATIENCE_S)
            with pytest.raises(AppError, match=DRAINING):
                third.result(PATIENCE_S)
        else:
            running.send_signal(signal.SIGTERM)
            with pytest.raises(AppError, match=CUT_OFF):
                first.result(PATIENCE_S)
        _, said = running.communicate(timeout=PATIENCE_S)
        assert running.returncode == 0, said
    events = [json.loads(line)["event"] for line in said.splitlines() if line.startswith("{")]
    assert ("drained" if finishes else "drained: answers were cut off") in events


def test_the_demo_itself_ends_gently_and_writes_json() -> None:
    port = free_port()
    flags = "-m", "app", "--port", str(port), "--log-format", "json", "--drain-seconds", "2"
    with process(*flags, port=port) as running:
        assert waited_for(lambda: get(port, "readyz").status_code == 200), "the model answered"
        assert "vscan_model_loaded" in get(port, "metrics").text
        running.send_signal(signal.SIGTERM)
        out, said = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0 and not out
    lines = [json.loads(line) for line in said.splitlines()]  # all of them
    assert {"draining", "drained"} <= {line["event"] for line in lines}


def test_what_cannot_be_used_ends_the_program_with_a_sentence(tmp_path) -> None:
    command = [sys.executable, "-m", "app", "--models", "minni"]
    own = os.environ | {"PYTHONPATH": str(ROOT), "VSCAN_PORT": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2 and "there is no model 'minni'; is it 'mini'?" in done.stderr.splitlines()[-1]
