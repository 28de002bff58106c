"""What surrounds a demo in service: its figures, its health, its login and its end, put together from settings."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from vscan_core.catalog import MODELS

from ..session.engine import Engine
from ..session.quotas import FairUse
from ..session.uploads import Uploads
from ..session.zero_gpu import zero_gpu_is_on
from . import guard
from .connections import close_idle_connections
from .drain import Drain, StopSignal, serve_until_stopped
from .health import Probe, Readiness, health_routes
from .limits import DoorLimits
from .logs import adopt_web_server_logs
from .memory import collect_between_runs, keep_what_is_there
from .metrics import Meters
from .programs.program_routes import check_mcp_package, program_routes
from .request_watch import FaultAnswers, RequestWatch, counting_refusals
from .settings import Settings
from .upload_gate import UploadGate
from .watch import MeteredEngine, WatchedSession, WatchedZeroGPUSession

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")  # no page of another site can give this computer a name of its own
WRONG_LOGIN_S = 1.0  # that a wrong password costs whoever tries


class Operations:
    """Raises ValueError, one sentence, for a model that is not known, or an extra that is not installed."""

    def __init__(self, settings: Settings, engine: Engine | None = None) -> None:
        self.settings, self.meters, self.drain = settings, Meters(), Drain()
        if settings.mcp:
            check_mcp_package()
        kind = WatchedZeroGPUSession if zero_gpu_is_on() else WatchedSession
        self.session = kind(engine or self._engine(), settings.model, self.meters, self.drain, fair=self.fair_use)
        probe = Probe(self.session, self.meters)
        floors = settings.memory_floor_mb, settings.disk_floor_mb
        self.readiness = Readiness(self.session, self.drain, probe, *floors)

    def _engine(self) -> Engine:
        settings = self.settings
        return MeteredEngine(self.meters, settings.offered(MODELS), settings.is_public)

    @property
    def fair_use(self) -> FairUse:
        """What one visitor may have."""
        settings, mb = self.settings, 1_000_000
        return FairUse(
            runs=settings.runs_per_visitor,
            runs_of_programs=settings.runs_of_programs,
            runs_per_minute=settings.requests_per_minute,
            answer_s=settings.answer_seconds,
            upload_bytes=settings.uploads_mb_per_visitor * mb,
            all_upload_bytes=settings.disk_mb * mb,
        )

    def app_kwargs(self) -> dict[str, Any]:
        """Arguments for Gradio's app: the door, what watches requests on both sides of it, and routes for operators."""
        settings, anywhere = self.settings, ("0.0.0.0/0", "::/0")
        limits = DoorLimits(
            upload_seconds=settings.upload_seconds,
            trusted_hosts=settings.trusted_hosts or (() if settings.is_public else LOCAL_NAMES),
            trusted_proxies=anywhere if "*" in settings.trusted_proxies else settings.trusted_proxies,
        )
        door = guard.app_kwargs(limits, counting_refusals(self.meters), self.meters.failed)
        outer, inner = (Middleware(each, meters=self.meters) for each in (RequestWatch, FaultAnswers))
        gate = Middleware(UploadGate, uploads=Uploads(get_upload_folder(), self.fair_use))
        programs, life = program_routes(
            self.session, door["lifespan"], settings.answer_tokens, settings.mcp, self.login
        )
        routes = [*door["routes"], *health_routes(self.readiness, self.meters), *programs]
        middleware = [outer, *door["middleware"], gate, inner]
        return {**door, "middleware": middleware, "routes": routes, "lifespan": life}

    @property
    def login(self) -> Callable[[str, str], Awaitable[bool]] | None:
        """Gradio's `auth`: whether user and password are right; None if anybody may come."""
        pair = self.settings.login_pair
        if pair is None:
            return None

        async def right(user: str, password: str) -> bool:
            same_user = secrets.compare_digest(user.encode(), pair[0].encode())
            if secrets.compare_digest(password.encode(), pair[1].encode()) and same_user:
                return True
            await asyncio.sleep(WRONG_LOGIN_S)
            return False

        return right

    def before_launch(self, demo: gr.Blocks) -> None:
        """What the web server reads from the environment when it starts; the queue is bounded, and counted."""
        os.environ["FORWARDED_ALLOW_IPS"] = ""  # the door knows whom to believe
        demo._queue.max_size = self.settings.max_queue
        self.meters.watch_queue(lambda: len(demo._queue))

    def serve(self, demo: gr.Blocks, stop: StopSignal) -> None:
        """Keep a launched demo open until SIGTERM, and close it gently."""
        if self.settings.logs_json:
            adopt_web_server_logs()
        close_idle_connections(demo)
        self.readiness.reasons()  # asks the model for the first time
        keep_what_is_there()
        collect_between_runs(lambda: self.session.visits.under_way() > 0)
        serve_until_stopped(demo, self.drain, stop, self.settings.drain_seconds)
