"""Whether the demo can serve: /readyz says why not, for what sends visitors to it, and /metrics has the figures."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from gradio.utils import get_upload_folder
from PIL import Image
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vscan_core.machine import available_gb

from ..session.session import Session
from ..session.sources import OpenedSource
from ..session.zero_gpu import zero_gpu_is_on
from .drain import Drain
from .metrics import Meters

PROBE_QUESTION = "What is in the picture?"
PROBE_EVERY_S, PROBE_DEADLINE_S, PROBE_AGAIN_S = 60.0, 30.0, 10.0  # the last: after one that failed
KNOWN_FOR_S = 1.0  # a flood of requests costs one look a second
MB = 1_000_000
health_log = logging.getLogger("app.health")


class Probe:
    """Whether the model answers. It is asked in the background, and only if no visitor's run has moved on lately."""

    def __init__(
        self, session: Session, meters: Meters, every_s: float = PROBE_EVERY_S, deadline_s: float = PROBE_DEADLINE_S
    ) -> None:
        self._session, self._meters, self._every_s, self._deadline_s = session, meters, every_s, deadline_s
        self._lock = threading.Lock()
        self._asked: float | None = None  # since when a question is under way
        self._failed = self._answered = float("-inf")

    def problem(self) -> str | None:
        """What is wrong with the model's answers, if anything; asks again if the last one is old."""
        if zero_gpu_is_on():  # a question would spend the quota of whoever comes
            return None
        now = time.monotonic()
        with self._lock:
            known = max(self._answered, self._meters.last_step)
            if now - known < self._every_s and self._failed < known:
                return None
            if self._asked is None and now - self._failed > PROBE_AGAIN_S:
                self._asked = now
                threading.Thread(target=self._ask, name="probe", daemon=True).start()
            if self._asked is not None and now - self._asked > self._deadline_s:
                return f"The model has not answered a probe within {self._deadline_s:g} seconds."
            if self._failed > known:
                return "The model failed to answer a probe; the log says why."
        return None if known > float("-inf") else "The model has not answered a probe yet."

    def _ask(self) -> None:
        try:
            self._answer()
            self._answered = time.monotonic()
        except Exception as error:
            self._meters.failed(error, "probe")
            self._failed = time.monotonic()
            health_log.warning("a probe failed", exc_info=error)
        finally:
            with self._lock:
                self._asked = None

    def _answer(self) -> None:
        session, blank = self._session, OpenedSource("probe", Image.new("RGB", (64, 64)))
        session.probe(session.default_model, blank, PROBE_QUESTION, self._deadline_s)


@dataclass
class Readiness:
    """Whether visitors may be sent here, and if not, why."""

    session: Session
    drain: Drain
    probe: Probe
    memory_floor_mb: int = 0
    disk_floor_mb: int = 0

    def __post_init__(self) -> None:
        self._looked, self._known = float("-inf"), list[str]()

    def reasons(self) -> list[str]:
        """One sentence for each thing that is wrong; none: ready."""
        if self.drain.draining:
            return ["The server is about to stop."]
        if time.monotonic() - self._looked > KNOWN_FOR_S:
            problems = (self._model(), self._memory(), self._disk())
            self._looked, self._known = time.monotonic(), [problem for problem in problems if problem]
        return self._known

    def _model(self) -> str | None:
        if not self.session.models.ready(self.session.default_model):
            return "The model is not loaded."
        return self.probe.problem()

    def _memory(self) -> str | None:
        free_mb = available_gb() * 1e9 / MB
        if free_mb < self.memory_floor_mb:
            return f"{free_mb:.0f} MB of memory are free; {self.memory_floor_mb} MB are the least."
        return None

    def _disk(self) -> str | None:
        folder = Path(get_upload_folder())
        try:
            folder.mkdir(parents=True, exist_ok=True)
            free_mb = shutil.disk_usage(folder).free / MB
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"x")
        except OSError:
            return "The folder for temporary files cannot be written to."
        if free_mb < self.disk_floor_mb:
            return f"{free_mb:.0f} MB of disk are free; {self.disk_floor_mb} MB are the least."
        return None


def health_routes(readiness: Readiness, meters: Meters) -> list[Route]:
    """/readyz and /metrics."""

    async def readyz(_: Request) -> Response:
        reasons = readiness.reasons()
        return JSONResponse(
            {"status": "not ready" if reasons else "ready", "reasons": reasons}, 503 if reasons else 200
        )

    async def metrics(_: Request) -> Response:
        return Response(meters.text(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/readyz", readyz), Route("/metrics", metrics)]
