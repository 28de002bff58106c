"""What a running demo holds (memory, threads, descriptors, files), and how fast its health check answers meanwhile."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx
import psutil

from .demo_process import DemoProcess

HEALTH_EVERY_S = 0.5


@dataclass(frozen=True)
class Holdings:
    """Of the demo and the processes it has started. `requests`: how many had been answered by then."""

    requests: int
    rss_mb: float  # resident memory, in 10^6 bytes
    threads: int
    descriptors: int
    files: int  # temporary files


def holdings(demo: DemoProcess, requests: int = 0) -> Holdings:
    """Look at the demo now. Processes that end meanwhile are left out."""
    memory, threads, descriptors = 0, 0, 0
    for process in [demo.process, *demo.process.children(recursive=True)]:
        try:
            with process.oneshot():
                memory += process.memory_info().rss
                threads += process.num_threads()
                descriptors += process.num_fds() if hasattr(process, "num_fds") else process.num_handles()
        except psutil.Error:
            continue
    files = sum(path.is_file() for path in demo.files.rglob("*"))
    return Holdings(requests, round(memory / 1e6, 2), threads, descriptors, files)


def files_by_kind(demo: DemoProcess) -> dict[str, int]:
    """How many temporary files there are, by the ends of their names."""
    return dict(Counter(path.suffix or path.name for path in demo.files.rglob("*") if path.is_file()).most_common(10))


async def watch_health(demo: DemoProcess, milliseconds: list[float]) -> None:
    """Ask /healthz twice a second until cancelled, and add how long each answer took; no answer counts as infinite."""
    async with httpx.AsyncClient(base_url=demo.url, timeout=30) as client:
        while True:
            start = time.perf_counter()
            try:
                answered = (await client.get("healthz")).status_code == 200
            except httpx.HTTPError:
                answered = False
            milliseconds.append(1000 * (time.perf_counter() - start) if answered else float("inf"))
            await asyncio.sleep(HEALTH_EVERY_S)


def median_and_p95(values: Sequence[float], digits: int = 3) -> dict[str, float | int]:
    """Median, 95th percentile, greatest and number of values; [1, 2, ..., 100] -> 50.5, 95, 100, 100."""
    if not values:
        return {"n": 0}
    ordered = sorted(values)
    late = ordered[max(0, -(-95 * len(ordered) // 100) - 1)]
    found = {"median": statistics.median(ordered), "p95": late, "max": ordered[-1]}
    return {name: round(value, digits) for name, value in found.items()} | {"n": len(ordered)}


def growth_per_100(samples: Sequence[Holdings], name: str) -> float:
    """How much a figure grows in 100 requests: the slope of the least-squares line through the samples."""
    if len({sample.requests for sample in samples}) < 2:
        return 0.0
    line = statistics.linear_regression([sample.requests for sample in samples], [asdict(s)[name] for s in samples])
    return round(100 * line.slope, 4)


def thinned(samples: Sequence[Holdings], most: int = 60) -> list[dict[str, Any]]:
    """At most that many samples, evenly spread, for a record."""
    step = max(1, -(-len(samples) // most))
    return [asdict(sample) for sample in samples[::step]]
