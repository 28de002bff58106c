"""Replicas that follow the load, and a Ray cluster that several web servers join."""

from __future__ import annotations

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

import pytest
from gradio_client import Client, handle_file

if find_spec("ray") is None:
    pytest.skip("ray is not installed", allow_module_level=True)

from tests.app.operating import free_port
from tests.serve.conftest import EXAMPLE, PATIENCE_S, QUESTION, below, replica_pids, waited_for
from tests.serve.shell import answers, shell

VISITORS = 3
TOKEN = "known to every node of this cluster" * 2


def ask(url: str, more: str = "") -> str:
    """VScan's answer."""
    asked = handle_file(EXAMPLE), QUESTION + more, 1 / 9, "mini", "vscan", 64
    return str(Client(url, verbose=False).predict(*asked, api_name="/compare")[1])


def test_a_second_replica_comes_while_runs_wait() -> None:
    with shell("--replicas", "1-2") as (running, url):
        assert waited_for(lambda: running.poll() is not None or answers(f"{url}/readyz"))
        assert len(replica_pids(running.pid)) == 1
        started, grown = time.monotonic(), 0.0
        with ThreadPoolExecutor(VISITORS) as threads:
            while not grown and time.monotonic() < started + PATIENCE_S:
                told = list(threads.map(lambda name: ask(url, f" {name} {time.monotonic()}"), range(VISITORS)))
                assert all(told)
                if len(replica_pids(running.pid)) == 2:
                    grown = time.monotonic() - started
        print(f"a second one after {grown:.0f} s at most")
        assert grown and ask(url)


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
    with shell("--replicas", "1", **variables) as (first, url):
        assert waited_for(lambda: first.poll() is not None or answers(f"{url}/readyz"))
        there = replica_pids(leader)
        assert len(there) == 1, "the first one deploys"
        with shell("--replicas", "1", **variables) as (second, other):
            assert waited_for(lambda: second.poll() is not None or answers(f"{other}/readyz"))
            assert replica_pids(leader) == there, "the second one uses what is there"
            assert ask(url) == ask(other) != ""
            first.send_signal(signal.SIGTERM)
            first.communicate(timeout=PATIENCE_S)
            assert first.returncode == 0
            assert ask(other, " Again?") and replica_pids(leader) == there
    with shell("--replicas", "1", "--model", "dummy:llava-small", **variables) as (third, _):
        _, said = third.communicate(timeout=PATIENCE_S)
    assert third.returncode == 2 and "hold mini, not dummy:llava-small" in said.splitlines()[-1]
