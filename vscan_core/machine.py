"""What this machine has for a model on its CPU: its name, memory that is free, and how fast it multiplies matrices.

Memory: what the kernel calls available, or less if a control group (v1 or v2, as containers use them) leaves less.
Speed: one matrix product of the size that a prefill makes, measured once per process and type.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch

MEASURED_ROWS, MEASURED_WIDTH = 576, 2048  # of the measured product: tokens, and a side of the square of weights
ENOUGH_S = 1.0  # no further repetition after that long
SYSTEM_ROOT = Path("/")


def cpu_name(system: Path = SYSTEM_ROOT) -> str:
    """The processor's name as the kernel gives it; where it gives none, the kind of its instructions, such as arm64."""
    for line in _text(system / "proc" / "cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.machine()


def available_gb(system: Path = SYSTEM_ROOT) -> float:
    """Main memory that a new model can use, in gigabytes (10^9 bytes); where the system does not tell, all of it."""
    bytes_left = [*_of_kernel(system), *_of_groups(system)]
    return min(bytes_left) / 1e9 if bytes_left else _installed_gb()


@cache
def cpu_tflops_per_s(dtype: torch.dtype) -> float:
    """Floating-point operations per second of a matrix product of this type on the CPU, in units of 10^12.

    Measured at the first call in a process, with the threads that torch has then.
    """
    with torch.inference_mode():
        rows, weights = (
            torch.ones(MEASURED_ROWS, MEASURED_WIDTH, dtype=dtype),
            torch.ones(MEASURED_WIDTH, MEASURED_WIDTH, dtype=dtype),
        )
        seconds: list[float] = []
        torch.nn.functional.linear(rows, weights)  # the first one also sets up threads and kernels
        while len(seconds) < 5 and sum(seconds) < ENOUGH_S:
            start = time.perf_counter()
            torch.nn.functional.linear(rows, weights)
            seconds.append(time.perf_counter() - start)
    return 2 * MEASURED_ROWS * MEASURED_WIDTH**2 / statistics.median(seconds) / 1e12


def bfloat16_is_fast() -> bool:
    """Whether this CPU multiplies in bfloat16 (AMX, AVX-512 BF16 or Arm's counterpart) faster than in float32."""
    return cpu_tflops_per_s(torch.bfloat16) > cpu_tflops_per_s(torch.float32)


def _of_kernel(system: Path) -> Iterator[int]:
    """Bytes that /proc/meminfo calls available, without swapping."""
    for line in _text(system / "proc" / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _of_groups(system: Path) -> Iterator[int]:
    """Bytes left under the limit of each control group that this process is in, up to the outermost."""
    for line in _text(system / "proc" / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, files = system / "sys" / "fs" / "cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = system / "sys" / "fs" / "cgroup" / "memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own = top / path.lstrip("/")
        for group in (own, *own.parents):
            yield from _under_limit(group, *files)
            if group == top:
                break


def _under_limit(group: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    """Bytes left in one group; cached files count as used there, but give way."""
    most, used = _text(group / limit).strip(), _text(group / usage).strip()
    if most.isdecimal() and used.isdecimal():  # "max": no limit
        cached = [
            line.split()[1] for line in _text(group / "memory.stat").splitlines() if line.split()[0] == reclaimable
        ]
        yield max(0, int(most) - int(used) + sum(map(int, cached)))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # not Linux, or hidden from this process
        return ""


def _installed_gb() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):  # unknown on this system: allow the attempt
        return float("inf")
