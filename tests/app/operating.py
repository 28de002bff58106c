"""A demo in service, as `python -m app` starts it, in this process; and what /metrics says."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from app.__main__ import launch_options
from app.main import build_app
from app.server.operations import Operations
from app.server.settings import Settings
from app.session.engine import Engine


@dataclass(frozen=True)
class Service:
    """A running demo and what surrounds it."""

    url: str
    operations: Operations

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=60)

    def figures(self) -> dict[str, float]:
        """What /metrics says, as "name{label=value,...}"."""
        return figures(self.get("metrics").text)


def figures(text: str) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings_of(**given: Any) -> Settings:
    """Settings that do not look at this computer's environment file, memory or disk."""
    return Settings(_env_file=None, **{"memory_floor_mb": 0, "disk_floor_mb": 0, **given})


@contextmanager
def operating(engine: Engine | None = None, **given: Any) -> Iterator[Service]:
    operations = Operations(settings_of(port=free_port(), **given), engine)
    operations.session.model(operations.settings.model)
    demo = build_app(operations.session, [], ("compare",))
    operations.before_launch(demo)
    port = operations.settings.port
    demo.launch(**launch_options("127.0.0.1", port, operations), prevent_thread_lock=True, quiet=True)
    try:
        yield Service(f"http://127.0.0.1:{port}/", operations)
    finally:
        demo.close(verbose=False)
