"""What an operator offers: chosen models only, and on a public host no sentences that only the operator can act on."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vscan_core.catalog import ModelCard, is_random
from vscan_core.errors import InputError, OutOfMemory

from .engine import Engine

if TYPE_CHECKING:
    from vscan_core import LVLM

T = TypeVar("T")
_log = logging.getLogger("app")

CANNOT_RUN = "This model cannot run on this server; please choose another one."
NOT_LOADED = "This model could not be loaded on this server; please choose another one."
PATIENT = 10  # how nice the thread is that loads a model: threads that answer go first


class OfferedEngine(Engine):
    """An engine on which visitors may load what the operator allows."""

    def __init__(self, allowed: Collection[str] | None = None, public: bool = False) -> None:
        """`allowed`: names of models; None: all, on a `public` host without those that have random weights."""
        self._allowed, self._public = allowed, public

    def models(self) -> Mapping[str, ModelCard]:
        """See Engine."""
        return {name: card for name, card in super().models().items() if self._offers(name)}

    def unavailable(self, name: str, released_gb: float = 0.0) -> str | None:
        """See Engine; on a public host without the reason, which is logged."""
        reason = super().unavailable(name, released_gb)
        if reason is None or not self._public:
            return reason
        _log.info("model %.60s cannot run here: %s", name, reason)
        return CANNOT_RUN

    def load(self, name: str) -> LVLM:
        """See Engine; beside the answers that are being written, which have the processor first."""
        try:
            return in_patient_thread(lambda: super(OfferedEngine, self).load(name))
        except OutOfMemory:
            raise
        except InputError as error:
            if not self._public:
                raise
            _log.error("model %.60s could not be loaded: %s", name, error)
            raise InputError(NOT_LOADED) from error

    def _offers(self, name: str) -> bool:
        if self._allowed is not None:
            return name in self._allowed
        return not (self._public and is_random(name))


def in_patient_thread(work: Callable[[], T]) -> T:
    """Do it in a thread of its own that others go before, where the system knows such threads (Linux)."""
    found: Future[T] = Future()

    def patiently() -> None:
        try:
            if Path("/proc/self/task").exists():
                # on Linux a thread has a priority of its own, which those that it starts inherit; elsewhere it would be
                # that of the whole program
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PATIENT)
            found.set_result(work())
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=patiently, name="loads a model", daemon=True).start()
    return found.result()
