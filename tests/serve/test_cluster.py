"""Replicas that follow the load, and a Ray cluster that several web servers join."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

if find_spec("ray") is None:
    pytest.skip("ray is not installed", allow_module_level=True)

from tests.app.operating import free_port
from tests.serve.conftest import EXAMPLE, PATIENCE_S, QUESTION, below, replica_pids, waited_for
from tests.serve.shell import shell

VISITORS = 3
TOKEN = "known to every node of this cluster" * 2


def ask(url: str, more: str = "") -> str:
    """VScan's answer, if any word; as a program gets it, without an upload, of which a visitor may send few."""
    picture = base64.b64encode(Path(EXAMPLE).read_bytes()).decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
    content = [image, {"type": "text", "text": QUESTION + more}]
    asked = {"model": "mini", "messages": [{"role": "user", "content": content}]}
    reply = httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=PATIENCE_S).raise_for_status()
    return str(reply.json()["choices"][0]["message"]["content"])


def test_a_second_replica_comes_while_runs_wait() -> None:
    with shell("--replicas", "1-2", VSCAN_REQUESTS_PER_MINUTE="6000") as demo:
        assert demo.ready() and len(replica_pids(demo.pid)) == 1
        started, grown = time.monotonic(), 0.0
        with ThreadPoolExecutor(VISITORS) as threads:
            while not grown and time.monotonic() < started + PATIENCE_S:
                list(threads.map(lambda name: ask(demo.url, f" {name} {time.monotonic()}"), range(VISITORS)))
                if len(replica_pids(demo.pid)) == 2:
                    grown = time.monotonic() - started
        print(f"a second one after {grown:.0f} s at most")
        assert grown and ask(demo.url)


@pytest.fixture
def cluster() -> Iterator[tuple[int, dict[str, str]]]:
    """A cluster of one node: the process that leads it, and what a web server needs in its environment."""
    port = free_port()
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}",
               "--node-ip-address=127.0.0.1", "--num-cpus=2", "--include-dashboard=false",
               f"--ray-client-server-port={free_port()}", "--object-store-memory=300000000"]  # fmt: skip
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    leader = subprocess.Popen(command, env=clean | own, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield leader.pid, own | {"RAY_ADDRESS": f"127.0.0.1:{port}"}
    finally:
        for pid in [leader.pid, *below(leader.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        leader.wait()


def test_web_servers_join_a_cluster_and_leave_its_replicas(cluster: tuple[int, dict[str, str]]) -> None:
    leader, variables = cluster
    assert waited_for(lambda: any("raylet" in command for command in below(leader).values()))
    with shell("--replicas", "1", **variables) as first:
        assert first.ready()
        there = replica_pids(leader)
        assert len(there) == 1, "the first one deploys"
        with shell("--replicas", "1", **variables) as second:
            assert second.ready() and replica_pids(leader) == there, "the second one uses what is there"
            assert ask(first.url) == ask(second.url) != ""
            first.process.send_signal(signal.SIGTERM)
            first.end()
            assert first.process.returncode == 0
            assert ask(second.url) and replica_pids(leader) == there
    with shell("--replicas", "1", "--model", "dummy:llava-small", **variables) as third:
        said = third.end()
    assert third.process.returncode == 2 and "hold mini, not dummy:llava-small" in said[-1]
