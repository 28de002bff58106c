"""Many visitors at once, for some minutes; and two visitors for a long time, to see whether anything grows."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from .demo_process import DemoProcess
from .simulated_visitor import VisitNotes, visit
from .watching import Holdings, files_by_kind, growth_per_100, holdings, median_and_p95, thinned, watch_health

HEALTHZ_MOST_MS = 1000.0
GROWTH_MOST_MB = 1.0  # of memory, in 100 requests after the warm-up
WARM_UP = 1 / 3  # of a soak
FLAT = 0.5  # threads, descriptors or files that may be more in 100 requests
PROBLEMS_SHOWN = 20


async def crowd(
    demo: DemoProcess, visitors: int, seconds: float, previews: int = 4, pause_s: float = 2.0
) -> VisitNotes:
    """Let that many visitors come again and again until the time is up; those who are there then are served."""
    notes, until = VisitNotes(), time.monotonic() + seconds

    async def comes_again(number: int) -> None:
        chance = random.Random(number)
        await asyncio.sleep(chance.uniform(0, min(pause_s, seconds / 4)))
        while True:
            await visit(demo.url, number, notes, chance, previews, pause_s, pictures=3)
            if time.monotonic() >= until:
                return

    await asyncio.gather(*[comes_again(number) for number in range(visitors)])
    return notes


async def measure_crowd(demo: DemoProcess, visitors: int, seconds: float, pause_s: float = 2.0) -> dict[str, Any]:
    """A row of figures: what was asked and answered, waits, the health check, what the demo held."""
    health: list[float] = []
    watch = asyncio.create_task(watch_health(demo, health))
    before, start = holdings(demo), time.monotonic()
    notes = await crowd(demo, visitors, seconds, pause_s=pause_s)
    watch.cancel()
    return {
        "visitors": visitors,
        "seconds": round(time.monotonic() - start, 1),
        **figures_of(notes, health),
        "rss_mb_before": before.rss_mb,
        "rss_mb_after": holdings(demo).rss_mb,
    }


async def measure_soak(
    demo: DemoProcess, visitors: int, seconds: float, pause_s: float = 0.2, every_s: float = 5.0
) -> dict[str, Any]:
    """The same, and how memory, threads, descriptors and files grow after the first third of the time."""
    health: list[float] = []
    samples: list[Holdings] = []
    total = VisitNotes()

    async def look() -> None:
        while True:
            samples.append(holdings(demo, total.requests))
            await asyncio.sleep(every_s)

    watches = [asyncio.create_task(look()), asyncio.create_task(watch_health(demo, health))]
    start = until = time.monotonic()
    until += seconds

    async def stays(number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < until:
            await visit(demo.url, number, total, chance, 4, pause_s, pictures=2)

    await asyncio.gather(*[stays(number) for number in range(visitors)])
    for task in watches:
        task.cancel()
    samples.append(holdings(demo, total.requests))
    warm = [each for each in samples if each.requests >= WARM_UP * total.requests]
    grown = {name: growth_per_100(warm, name) for name in ("rss_mb", "threads", "descriptors", "files")}
    return {
        "visitors": visitors,
        "seconds": round(time.monotonic() - start, 1),
        **figures_of(total, health),
        "growth_per_100_requests": grown,
        "files": files_by_kind(demo),
        "samples": thinned(samples),
    }


def figures_of(notes: VisitNotes, health_ms: list[float]) -> dict[str, Any]:
    """What the notes of all visitors come to."""
    return {
        "requests": notes.requests,
        "asked": notes.asked,
        "answered": notes.answered,
        "previews": notes.previews,
        "previews_refused": notes.previews_refused,
        "wait_s": median_and_p95(notes.wait_s),
        "answer_s": median_and_p95(notes.answer_s),
        "preview_s": median_and_p95(notes.preview_s),
        "healthz_ms": median_and_p95(health_ms, 1),
        "problems": len(notes.problems),
        "first_problems": notes.problems[:PROBLEMS_SHOWN],
    }


def broken_promises(row: dict[str, Any]) -> list[str]:
    """What a row of figures shows that must not happen, in sentences; empty if all is well."""
    broken = []
    if not row["asked"] or row["answered"] < row["asked"]:
        broken.append(f"Of {row['asked']} runs, {row['answered']} were answered.")
    if row["previews_refused"]:
        broken.append(f"Of {row['previews']} previews, {row['previews_refused']} were refused.")
    if row["problems"]:
        broken.append(f"There were {row['problems']} problems, such as: {row['first_problems'][0]}")
    if row["healthz_ms"].get("max", HEALTHZ_MOST_MS) >= HEALTHZ_MOST_MS:
        broken.append(f"/healthz took up to {row['healthz_ms'].get('max')} ms.")
    for name, grown in row.get("growth_per_100_requests", {}).items():
        if grown >= (GROWTH_MOST_MB if name == "rss_mb" else FLAT):
            broken.append(f"In 100 requests, {name} grew by {grown}.")
    return broken
