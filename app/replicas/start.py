"""The replicas of a model, from an environment in which Ray is closed to others."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from vscan_core.catalog import MODELS, unavailable
from vscan_core.errors import InputError

from ..session.engine import Engine
from ..session.quotas import FairUse
from .size import ReplicaRange

if TYPE_CHECKING:
    from .client import Replicas

NO_RAY = "replicas need Ray Serve; install it with: pip install 'vscan-core[demo,serve]'"


def start_replicas(
    model: str, replicas: ReplicaRange, fair: FairUse, make_engine: Callable[[], Engine] = Engine
) -> Replicas:
    """The replicas of a model: those of the cluster at RAY_ADDRESS, deployed unless they are there; else our own.

    Ray and replicas of our own end with this process. `make_engine` is called in each replica. Raises InputError
    if they cannot be had.
    """
    if model not in MODELS:
        raise InputError("There is no such model in this demo.")
    if not os.environ.get("RAY_ADDRESS") and (reason := unavailable(model)):
        raise InputError(reason)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_agent_register_timeout_ms", "300000")  # on a busy machine its own 30 s are too few
    if not os.environ.get("RAY_ADDRESS") and os.environ.get("RAY_AUTH_MODE") != "token":
        assert "ray" not in sys.modules, "it reads its environment when it is imported"
        # whoever reaches Ray's ports could run code here
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        from .cluster import joined_or_started  # late, for the same reason
    except ModuleNotFoundError as error:
        raise InputError(NO_RAY) from error
    return joined_or_started(model, replicas, fair, make_engine)
