"""The demo with replicas, as an operator starts it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.app.operating import free_port
from tests.serve.conftest import PATIENCE_S, waited_for

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Shell:
    """A running demo. What it logs goes to a file: a pipe that nobody reads would stop it when it is full."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def ready(self) -> bool:
        """Whether a replica answers in time; also if the demo ends first."""
        return waited_for(lambda: self.process.poll() is not None or answers(f"{self.url}/readyz"))

    def end(self) -> list[str]:
        """Wait for its end; the lines of its log."""
        self.process.wait(PATIENCE_S)
        return self.log.read_text().splitlines()


@contextmanager
def shell(*flags: str, **variables: str) -> Iterator[Shell]:
    """The demo, once it has opened its port or ended."""
    port = free_port()
    command = [sys.executable, "-m", "app", "--port", str(port), "--log-format", "json", *flags]
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own |= {"PYTHONPATH": str(ROOT)} | variables
    with tempfile.NamedTemporaryFile() as log:
        running = subprocess.Popen(command, cwd=ROOT, env=own, stderr=log)
        found = Shell(running, f"http://127.0.0.1:{port}", Path(log.name))
        try:
            assert waited_for(lambda: running.poll() is not None or answers(f"{found.url}/healthz")), (
                "it opens its port"
            )
            yield found
        finally:
            running.kill()
            running.wait()


def answers(url: str) -> bool:
    """Whether a GET gets 200."""
    try:
        return httpx.get(url, timeout=20).status_code == 200
    except httpx.TransportError:
        return False
