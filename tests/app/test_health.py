"""/healthz and /readyz: alive while it works, and ready only with a model that answers, memory, disk and time left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from gradio.utils import get_upload_folder
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.server import health
from app.server.drain import Drain
from app.server.health import Probe, Readiness, health_routes
from app.server.metrics import Meters
from app.server.watch import WatchedSession
from tests.app.fake import FakeEngine
from tests.app.operating import operating


class StuckEngine(FakeEngine):
    """Never begins to answer, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def run(self, *args: Any) -> Any:
        self.let_go.wait(60)
        return super().run(*args)


def ready_demo(engine: FakeEngine, loaded: bool = True, deadline_s: float = 30.0, **floors: int) -> Readiness:
    meters, drain = Meters(), Drain()
    session = WatchedSession(engine, "mini", meters, drain)
    if loaded:
        session.model("mini")
    return Readiness(session, drain, Probe(session, meters, deadline_s=deadline_s), **floors)


def soon(what: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while not what() and time.monotonic() < end:
        time.sleep(0.02)
    return what()


@pytest.fixture(autouse=True)
def looks_every_time(monkeypatch) -> None:
    monkeypatch.setattr(health, "KNOWN_FOR_S", -1.0)


def test_it_is_ready_once_the_model_has_answered() -> None:
    engine = FakeEngine()
    demo = ready_demo(engine)
    assert demo.reasons() == ["The model has not answered a probe yet."]
    assert soon(lambda: not demo.reasons()) and engine.ran == ["baseline"]
    for _ in range(5):
        assert demo.reasons() == []
    assert engine.ran == ["baseline"], "it is not asked again while the answer is fresh"


def test_a_visitors_answer_is_as_good_as_a_probe(picture) -> None:
    engine = FakeEngine()
    demo = ready_demo(engine)
    assert [*demo.session.compare("mini", picture, "What?", 0.5)] and demo.reasons() == []
    assert engine.ran == ["baseline", "vscan"]


def test_reasons_are_answered_with_503() -> None:
    demo = ready_demo(FakeEngine(), loaded=False)
    client = TestClient(Starlette(routes=health_routes(demo, Meters())))
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"status": "not ready", "reasons": ["The model is not loaded."]}
    demo.session.model("mini")
    assert soon(lambda: client.get("/readyz").status_code == 200)
    assert client.get("/readyz").json() == {"status": "ready", "reasons": []}
    demo.drain.finish(0)
    assert client.get("/readyz").json()["reasons"] == ["The server is about to stop."]


def test_a_model_that_fails_or_hangs_is_not_ready() -> None:
    demo = ready_demo(FakeEngine(fails_with=RuntimeError("broken")))
    assert soon(lambda: demo.reasons() == ["The model failed to answer a probe; the log says why."])
    stuck = StuckEngine()
    demo = ready_demo(stuck, deadline_s=0.2)
    assert soon(lambda: demo.reasons() == ["The model has not answered a probe within 0.2 seconds."])
    stuck.let_go.set()
    assert soon(lambda: not demo.reasons()), "and it is again when it answers"


def test_too_little_memory_or_disk_is_not_ready() -> None:
    huge = 10**9
    memory, disk = ready_demo(FakeEngine(), memory_floor_mb=huge), ready_demo(FakeEngine(), disk_floor_mb=huge)
    assert soon(lambda: len(memory.reasons()) == len(disk.reasons()) == 1)
    assert memory.reasons()[0].endswith(f"MB of memory are free; {huge} MB are the least.")
    assert disk.reasons()[0].endswith(f"MB of disk are free; {huge} MB are the least.")


def test_a_folder_that_cannot_be_written_to_is_not_ready(monkeypatch, tmp_path) -> None:
    demo = ready_demo(FakeEngine())
    assert soon(lambda: not demo.reasons())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file" / "folder"))  # not even root can make this one
    assert demo.reasons() == ["The folder for temporary files cannot be written to."]
    assert str(tmp_path) in get_upload_folder() and str(tmp_path) not in str(demo.reasons())


def test_the_demo_says_that_it_is_alive_and_ready_while_a_run_goes_on(picture) -> None:
    engine = FakeEngine(pause_s=0.02, answer_words=("word",) * 60)
    with operating(engine, max_queue=7, runs_per_visitor=3, answer_seconds=11) as service:
        fair = service.operations.session.visits.fair
        assert (fair.runs, fair.answer_s) == (3, 11)
        with_answer = service.operations.session.compare("mini", picture, "What?", 0.5)
        next(with_answer)
        for _ in range(5):
            next(with_answer)
            assert service.get("healthz").json() == {"status": "ok"}
            assert service.get("readyz").status_code == 200
            assert service.figures()["vscan_running"] == 1
        with_answer.close()
