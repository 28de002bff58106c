"""Figures of a running demo in the format of Prometheus. They count; nothing that a visitor sent is in them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from vscan_core.events import Answer

from ..ui.faults import fault_kind

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)  # bounds of the histograms
REASONS = {  # why a request was refused, by HTTP status
    400: "bad request", 401: "login", 403: "forbidden", 404: "unknown", 405: "method", 408: "slow", 413: "large",
    415: "bad request", 422: "bad request", 429: "rate", 503: "busy", 507: "disk",
}  # fmt: skip


class Meters:
    """Counters, gauges and histograms; each demo has its own."""

    def __init__(self) -> None:
        self.registry = there = CollectorRegistry()
        ProcessCollector(registry=there)
        self._requests = _counter(there, "requests", "HTTP requests that were answered", "route", "status")
        self._refused = _counter(there, "refused", "Requests and runs that were refused", "reason")
        self._errors = _counter(there, "errors", "Failures that are not a visitor's", "kind")
        self._runs = _counter(there, "runs", "Runs that ended: done, left, refused or failed", "model", "end")
        tokens = "Visual tokens of reduced answers, and how many of them were kept, a mean over layers"
        self._tokens = _counter(there, "visual_tokens", tokens, "kind")
        self._stages = _histogram(there, "stage", "Seconds of an answer's stages", "stage")
        self._waits = _histogram(there, "wait", "Seconds that a run waited for its device")
        self._lock = threading.Lock()
        self._states = {"waiting": 0, "running": 0}
        running = Gauge("vscan_running", "Runs that have their device", registry=there)
        running.set_function(lambda: self._states["running"])
        self._queue = Gauge("vscan_queue_length", "Runs and other events that wait", registry=there)
        self.watch_queue(lambda: 0)
        if torch.cuda.is_available():
            memory = Gauge("vscan_gpu_memory_bytes", "Memory of all GPUs that tensors hold", registry=there)
            memory.set_function(lambda: sum(map(torch.cuda.memory_allocated, range(torch.cuda.device_count()))))
        self.last_step = float("-inf")  # when a run last moved on, in seconds of the monotonic clock

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Count the events that wait outside of runs, too."""
        self._queue.set_function(lambda: self._states["waiting"] + length())

    def watch_models(self, names: Iterable[str], ready: Callable[[str], bool]) -> None:
        """Say which models are loaded."""
        self.registry.register(_LoadedModels(tuple(names), ready))

    def requested(self, route: str, status: int, counted: bool = False) -> None:
        """A request was answered; `route` is a pattern, never a visitor's path. `counted`: as refused, already."""
        self._requests.labels(route, str(status)).inc()
        if status >= 400 and status != 500 and not counted:
            self.refused(REASONS.get(status, "other"))

    def refused(self, reason: str) -> None:
        """Something was refused; `reason` is one of few words."""
        self._refused.labels(reason).inc()

    def failed(self, error: BaseException, kind: str | None = None) -> None:
        """Count an exception: as a refusal if the visitor can put it right, else as an error of its kind."""
        found = kind or fault_kind(error)
        if found is None:
            self.refused("input")
        else:
            self._errors.labels(found).inc()

    def answered(self, answer: Answer) -> None:
        """A run's answer is complete: its stages, and the tokens that were kept if it was reduced."""
        timings = answer.timings
        decode_ms = timings.total_ms - timings.ttft_ms
        stages = {"vision": timings.vision_ms, "reduce": timings.reduce_ms, "prefill": timings.prefill_ms}
        if not timings.staged:
            stages = {"first_token": timings.ttft_ms}
        for stage, spent_ms in (stages | {"decode": decode_ms}).items():
            self._stages.labels(stage).observe(max(0.0, spent_ms) / 1000)
        if answer.method != "baseline":
            self._tokens.labels("in").inc(sum(image.tokens for image in answer.trace.images))
            self._tokens.labels("kept").inc(answer.cost.visual_tokens)

    def waited(self, seconds: float) -> None:
        """A run has its device."""
        self._waits.observe(seconds)

    def ended(self, model: str, end: str) -> None:
        """A run has ended: "done", "left" (its visitor went or pressed Stop), "refused" or "failed"."""
        self._runs.labels(model, end).inc()

    def count(self, state: str, change: int) -> None:
        """One run more or less is "waiting" or "running"."""
        with self._lock:
            self._states[state] += change

    def step(self) -> None:
        """A run has moved on."""
        self.last_step = time.monotonic()

    def text(self) -> bytes:
        """All figures in the text format."""
        return generate_latest(self.registry)


def _counter(registry: CollectorRegistry, name: str, about: str, *labels: str) -> Counter:
    return Counter(f"vscan_{name}", about, labels, registry=registry)


def _histogram(registry: CollectorRegistry, name: str, about: str, *labels: str) -> Histogram:
    return Histogram(f"vscan_{name}_seconds", about, labels, buckets=SECONDS, registry=registry)


class _LoadedModels(Collector):
    def __init__(self, names: tuple[str, ...], ready: Callable[[str], bool]) -> None:
        self._names, self._ready = names, ready

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("vscan_model_loaded", "1 for every model that is loaded", labels=["model"])
        for name in filter(self._ready, self._names):
            family.add_metric([name], 1)
        yield family
