"""A vLLM server with this package, as an operator starts it, and clients of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.vllm.asking import MINI

START_S = 600
SMALL = ("--dtype", "float32", "--enforce-eager", "--block-size", "32")  # a reduced prompt fills several blocks
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def server(folder: Path, *options: str, model: str = MINI) -> Iterator[str]:
    """The address of a server, stopped at the end with every process that it started; its output goes to a file."""
    port, log = free_port(), folder / "server.log"
    command = [sys.executable, "-m", "vscan_vllm", model, "--host", "127.0.0.1", "--port", str(port), *SMALL, *options]
    with log.open("w") as out:
        process = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, stdout=out, stderr=out,
                                   start_new_session=True)  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(process, address, log)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise RuntimeError(f"the server did not start: {log.read_text()[-3000:]}")
