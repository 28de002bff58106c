"""The demo with replicas, as an operator starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.app.operating import free_port
from tests.serve.conftest import waited_for

ROOT = Path(__file__).parents[2]


@contextmanager
def shell(*flags: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The demo, and its address."""
    port = free_port()
    command = [sys.executable, "-m", "app", "--port", str(port), "--log-format", "json", *flags]
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own |= {"PYTHONPATH": str(ROOT)} | variables
    running = subprocess.Popen(command, cwd=ROOT, env=own, text=True, stderr=subprocess.PIPE)
    url = f"http://127.0.0.1:{port}"
    try:
        assert waited_for(lambda: running.poll() is not None or answers(f"{url}/healthz")), "it opens its port"
        yield running, url
    finally:
        running.kill()
        running.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=20).status_code == 200
    except httpx.TransportError:
        return False
