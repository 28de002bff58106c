"""One Ray with two replicas for all tests of a file, and what runs on this computer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from app.replicas.session import ReplicaEngine, ReplicatedSession
from app.replicas.size import ReplicaRange
from app.session.quotas import FairUse
from tests.serve.unhurried import Unhurried
from vscan_core.resources import asset

PATIENCE_S = 300.0  # a busy computer takes minutes to import torch
REPLICA = "ray::ServeReplica:vscan:engine"
EXAMPLE = str(asset("examples") / "scene_60059.png")
QUESTION = "What colour is the heart?"


@dataclass(frozen=True)
class Fleet:
    """Two replicas of the embedded model, and the session of a web server in front of them."""

    session: ReplicatedSession
    notes: Path  # a file for every run that has ended


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    from app.replicas.start import start_replicas

    notes = tmp_path_factory.mktemp("notes")
    replicas = start_replicas("mini", ReplicaRange(2, 2), FairUse(), partial(Unhurried, notes))
    yield Fleet(ReplicatedSession(ReplicaEngine(replicas, "mini"), "mini", replicas=replicas), notes)
    import ray

    ray.shutdown()


def waited_for(true: Callable[[], object], seconds: float = PATIENCE_S) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.1)
    return False


def processes() -> dict[int, tuple[int, str]]:
    """{process id: (that of its parent, its command)} of what runs and is no zombie."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if state != "Z":
                found[int(folder.name)] = int(parent), command
    return found


def below(root: int) -> dict[int, str]:
    """{process id: command} of the processes that a process has started, and of those that these have started."""
    there = processes()
    found: dict[int, str] = {}
    level = [root]
    while level:
        level = [pid for pid, (parent, _) in there.items() if parent in level]
        found |= {pid: there[pid][1] for pid in level}
    return found


def replica_pids(root: int | None = None) -> list[int]:
    """The processes of replicas of this one's Ray, or another's."""
    return sorted(pid for pid, command in below(root or os.getpid()).items() if command.startswith(REPLICA))
