"""The demo as a process of its own, on a free port of this computer, with its files in a folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

REPOSITORY = Path(__file__).parents[2]
SECONDS_TO_START = 300.0  # a busy computer takes minutes to import torch
SECONDS_TO_STOP = 20.0


@dataclass(frozen=True)
class DemoProcess:
    """A running demo. `files` holds all temporary files of it, `log` what it has printed."""

    url: str
    port: int
    process: psutil.Process
    files: Path
    log: Path


@contextmanager
def demo_process(environment: Mapping[str, str] | None = None, arguments: Sequence[str] = ()) -> Iterator[DemoProcess]:
    """Start `python -m app` with these variables and arguments, wait until it answers, and stop it at the end.

    Raises RuntimeError, with the last lines of its log, if it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="vscan-load-", ignore_cleanup_errors=True) as folder:
        port, files, log = _free_port(), Path(folder) / "files", Path(folder) / "demo.log"
        files.mkdir()
        places = {"TMPDIR": str(files), "GRADIO_TEMP_DIR": str(files / "gradio"), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "app", "--host", "127.0.0.1", "--port", str(port), *arguments]
        with log.open("wb") as output:
            started = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env={**os.environ, **places, **(environment or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        demo = DemoProcess(f"http://127.0.0.1:{port}/", port, psutil.Process(started.pid), files, log)
        try:
            _wait(started, demo)
            yield demo
        finally:
            _stop(started, demo)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait(started: subprocess.Popen[bytes], demo: DemoProcess) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and started.poll() is None:
        try:
            if httpx.get(f"{demo.url}healthz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.25)
    said = demo.log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"The demo does not answer (exit code {started.poll()}). It said last:\n{said}")


def _stop(started: subprocess.Popen[bytes], demo: DemoProcess) -> None:
    """Ask it to end as an operator does, with SIGTERM; what has not ended by then is killed, helpers included."""
    try:
        family = [demo.process, *demo.process.children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    if started.poll() is None:
        started.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=SECONDS_TO_STOP)
    for process in alive:
        process.kill()
    started.wait()
