"""Ray, started for this process alone or joined, and the deployment in it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import AutoscalingConfig, ProxyLocation, RequestRouterConfig
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from vscan_core.errors import InputError, first_line

from ..session.engine import Engine
from ..session.quotas import FairUse
from .client import Replicas
from .replica import EngineReplica
from .routing import LeastLoadedRouter
from .size import ReplicaRange

APPLICATION = "vscan"  # in Ray Serve
CALLS_PER_REPLICA = 64  # at a time: the run under way, and what waits for it
CHECK_EVERY_S, SILENT_FOR_S = 5.0, 30.0  # Ray Serve replaces a replica that does not say that it is alive
GROW_AFTER_S, SHRINK_AFTER_S = 5.0, 300.0  # a replica more while runs wait, one less after it has been idle
SHARED_BYTES = 300_000_000  # of memory, for pictures on their way to replicas
OTHER_MODEL = "The cluster's replicas hold {other}, not {model}; start the demo with --model {other}."
cluster_log = logging.getLogger("app.replicas")


def joined_or_started(model: str, replicas: ReplicaRange, fair: FairUse, make_engine: Callable[[], Engine]) -> Replicas:
    """See `start_replicas`."""
    with _signals_kept():
        joined = _join() if os.environ.get("RAY_ADDRESS") else _begin()
    _log_as_we_do()
    serve.start(proxy_location=ProxyLocation.Disabled, logging_config=_quiet())
    there = serve.status().applications
    if joined and APPLICATION in there:
        handle: DeploymentHandle[Any] = serve.get_app_handle(APPLICATION)
    else:
        _check_room(replicas, limited=not joined)
        handle = _deployed(replicas, model, fair, make_engine)
    found = Replicas(handle, replicas.most, silence_s=fair.answer_s)
    if (other := found.facts().name) != model:
        raise InputError(OTHER_MODEL.format(other=other, model=model))
    return found


def _begin() -> bool:
    """Start Ray here, for nobody else."""
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=SHARED_BYTES,
            log_to_driver=False,
            logging_level=logging.WARNING,
            _node_ip_address="127.0.0.1",
        )
    except (RayError, RuntimeError, OSError) as error:  # on a busy machine its processes wait for each other in vain
        cluster_log.error("Ray does not start", exc_info=error)
        raise InputError("Ray does not start on this machine; the lines above say why.") from error
    return False


def _join() -> bool:
    address = os.environ["RAY_ADDRESS"]
    try:
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    except (RayError, RuntimeError, OSError, ValueError) as error:
        raise InputError(f"The Ray cluster at RAY_ADDRESS={address} cannot be joined: {first_line(error)}") from error
    return True


def _resources() -> tuple[int, int]:
    """GPUs and cores."""
    there = ray.cluster_resources()
    return int(there.get("GPU", 0)), int(there.get("CPU", 1))


def _check_room(replicas: ReplicaRange, limited: bool) -> None:
    """A cluster may grow; one machine does not, and Ray would wait for ever."""
    gpus, cores = _resources()
    room, kind = (gpus, "GPU") if gpus else (cores, "CPU core")
    if limited and replicas.most > room:
        raise InputError(f"{replicas.most} replicas need {replicas.most} {kind}s; this machine has {room}.")


def _deployed(
    replicas: ReplicaRange, model: str, fair: FairUse, make_engine: Callable[[], Engine]
) -> DeploymentHandle[Any]:
    gpus, cores = _resources()
    own = {"num_gpus": 1} if gpus else {"num_cpus": max(1, cores // replicas.most)}  # also the number of threads
    deployment = serve.deployment(EngineReplica, name="engine").options(
        num_replicas=None if replicas.least < replicas.most else replicas.least,
        autoscaling_config=_autoscaling(replicas) if replicas.least < replicas.most else None,
        ray_actor_options=own,
        max_ongoing_requests=CALLS_PER_REPLICA,
        graceful_shutdown_timeout_s=fair.answer_s,  # one that goes lets its runs finish
        health_check_period_s=CHECK_EVERY_S,
        health_check_timeout_s=SILENT_FOR_S,
        request_router_config=RequestRouterConfig(request_router_class=LeastLoadedRouter),
        logging_config=_quiet(),
    )
    try:
        return serve.run(deployment.bind(model, fair, make_engine), name=APPLICATION, route_prefix=None)
    except RuntimeError as error:
        for name, about in serve.status().applications[APPLICATION].deployments.items():
            cluster_log.error("%s: %s", name, about.message)
        raise InputError(f"The replicas of {model} do not start; the lines above say why.") from error


def _autoscaling(replicas: ReplicaRange) -> AutoscalingConfig:
    return AutoscalingConfig(
        min_replicas=replicas.least,
        max_replicas=replicas.most,
        target_ongoing_requests=1,
        upscale_delay_s=GROW_AFTER_S,
        downscale_delay_s=SHRINK_AFTER_S,
    )


def _log_as_we_do() -> None:
    """Warnings only, through the handlers of this process."""
    for name in ("ray", "ray.serve"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


def _quiet() -> LoggingConfig:
    return LoggingConfig(log_level="WARNING", enable_access_log=False)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray puts its own handler of SIGTERM in the place of ours."""
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, ours)
