"""What a server frees is used again."""

from __future__ import annotations

import gc
import platform
import subprocess
import sys
import time
import weakref

import pytest

from app.server import memory

# threads that each free 20 MB in small pieces, all but the last, one after another; how much stays in use, in MB
CHURN = """
import sys, threading
from pathlib import Path
from app.server.memory import keep_what_is_there, share_freed_memory
if sys.argv[1] == "shared":
    assert share_freed_memory()
keep_what_is_there()
def used():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
def churn(freed):
    pieces = [bytearray(2000) for _ in range(10000)]
    del pieces[:-1]
    freed.set()
    over.wait()
start, over = used(), threading.Event()
for _ in range(24):
    freed = threading.Event()
    threading.Thread(target=churn, args=(freed,)).start()
    freed.wait()
print(used() - start)
over.set()
"""


def held(how: str) -> float:
    done = subprocess.run([sys.executable, "-c", CHURN, how], capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has arenas")
def test_what_one_thread_frees_another_uses() -> None:
    assert held("shared") < held("apart") / 3


# pieces of which every tenth stays: how much memory is in use before and after the gaps are given back, in MB
GAPS = """
from pathlib import Path
from app.server.memory import give_back_freed_memory
def used():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
pieces = [bytearray(20000) for _ in range(5000)]
kept = pieces[::10]
del pieces
before = used()
assert give_back_freed_memory()
print(before - used())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has arenas")
def test_gaps_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", GAPS], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 40


class Cycle:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def test_what_refers_to_itself_goes_between_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "COLLECT_EVERY_S", 0.05)
    gc.disable()
    try:
        left = weakref.ref(Cycle())
        assert left() is not None
        memory.collect_between_runs(lambda: False)
        end = time.monotonic() + 30
        while left() is not None and time.monotonic() < end:
            time.sleep(0.02)
        assert left() is None
    finally:
        gc.enable()
        monkeypatch.undo()
