"""The demo with replicas, as an operator starts it: load while a replica dies, and an end that leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

if find_spec("ray") is None:
    pytest.skip("ray is not installed", allow_module_level=True)

from app.ui.faults import NO_REPLICA
from tests.app.operating import figures
from tests.serve.conftest import EXAMPLE, PATIENCE_S, QUESTION, below, processes, replica_pids, waited_for
from tests.serve.shell import shell

VISITORS, QUESTIONS = 4, 8


def test_under_load_a_killed_replica_costs_nobody_an_answer_without_a_sentence() -> None:
    with shell("--replicas", "2") as demo:
        assert demo.ready(), "a replica answers the probe"
        first = replica_pids(demo.pid)
        assert demo.process.poll() is None and len(first) == 2

        def visitor(name: int) -> list[str]:
            client, told = Client(demo.url, verbose=False), []
            for number in range(QUESTIONS):
                asked = handle_file(EXAMPLE), f"{QUESTION} {name} {number}", 1 / 9, "mini", "vscan", 64
                try:
                    told.append(client.predict(*asked, api_name="/compare")[1])
                except AppError as error:
                    told.append(str(error))
            return told

        with ThreadPoolExecutor(VISITORS) as threads:
            crowd = [threads.submit(visitor, name) for name in range(VISITORS)]
            assert waited_for(lambda: figures(httpx.get(f"{demo.url}/metrics").text).get("vscan_running", 0) == 2)
            os.kill(first[0], signal.SIGKILL)
            killed = time.monotonic()
            told = [answer for one in crowd for answer in one.result(PATIENCE_S)]
        lost = [answer for answer in told if NO_REPLICA in answer]
        assert len(told) == VISITORS * QUESTIONS and all(told), "every question got an answer or a sentence"
        assert len(lost) <= 1, "the run that was under way in it, unless it was between two"
        assert not [answer for answer in told if "Something went wrong" in answer]
        assert waited_for(lambda: len(replica_pids(demo.pid)) == 2), "it is replaced"
        print(f"lost {len(lost)} of {len(told)}; two processes again after {time.monotonic() - killed:.1f} s at most")
        (later,) = {answer for answer in [visitor(9)[0]]}
        assert later and NO_REPLICA not in later
        started = below(demo.pid)
        demo.process.send_signal(signal.SIGTERM)
        said = demo.end()
        assert demo.process.returncode == 0
        assert waited_for(lambda: not set(started) & set(processes()), 30), "Ray has ended, too"
    lines = [json.loads(line) for line in said]  # all of them
    assert {"draining", "drained"} <= {line["event"] for line in lines}


def test_a_demo_that_is_killed_leaves_no_process_behind() -> None:
    with shell("--replicas", "1-2") as demo:
        started = below(demo.pid)
        assert any("raylet" in command for command in started.values())
        demo.process.kill()
        killed = time.monotonic()
        assert waited_for(lambda: not set(started) & set(processes()))
        print(f"all processes gone after {time.monotonic() - killed:.0f} s")


@pytest.mark.parametrize(
    ("flags", "variables", "sentence"),
    [
        (["--replicas", "999"], {}, "999 replicas need 999 "),
        (["--replicas", "2", "--models", "mini,dummy:llava-small"], {}, "leave --models unset"),
        (["--replicas", "two"], {}, "give a number of replicas such as 2"),
    ],
)
def test_what_cannot_be_started_is_said_in_one_sentence(flags, variables, sentence) -> None:
    with shell(*flags, **variables) as demo:
        said = demo.end()
    assert demo.process.returncode == 2 and sentence in said[-1]
    assert not below(demo.pid)
