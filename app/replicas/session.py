"""The session of a web server whose runs happen in replicas; it has no weights, and knows nothing of Ray."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from vscan_core.catalog import MODELS
from vscan_core.families import FAMILIES
from vscan_core.lvlm import LVLM

from ..session.devices import Device
from ..session.elsewhere import SessionCall, SessionElsewhere
from ..session.offer import OfferedEngine
from ..session.sources import OpenedSource, Source
from ..session.turn import OthersWait, TurnOver

if TYPE_CHECKING:
    from .client import Replicas

SHORT = ("preview", "prompt_tokens", "probe")  # take well under a second, and wait for no turn


@dataclass(frozen=True)
class WeightlessModel:
    """What a web server needs of a transformers model: its configuration, and where its weights are."""

    config: Any
    device: torch.device


class ReplicaEngine(OfferedEngine):
    """An engine that offers the one model that all replicas hold, whether or not it would run in this process."""

    def __init__(self, replicas: Replicas, model: str) -> None:
        super().__init__((model,))
        self._replicas = replicas

    def unavailable(self, name: str, released_gb: float = 0.0) -> str | None:
        """None: it runs already."""
        return None

    def expected(self, name: str, released_gb: float = 0.0) -> str:
        """Nothing: the replicas' hardware is not known here."""
        return ""

    def weights_gb(self, lvlm: LVLM) -> float:
        """0: they are elsewhere."""
        return 0.0

    def load(self, name: str) -> LVLM:
        """The model without weights and processor: for its anatomy, its FLOPs, and the name of its device."""
        facts = self._replicas.facts()
        family = FAMILIES[MODELS[name].family]
        return LVLM(WeightlessModel(facts.config, facts.device), None, family, name)


class ReplicatedSession(SessionElsewhere):
    """Runs go to the replicas as soon as it is their turn; so many have it at a time as there can be replicas."""

    def __init__(self, engine: ReplicaEngine, default_model: str, *, replicas: Replicas, **more: Any) -> None:
        super().__init__(engine, default_model, **more)
        self._replicas = replicas

    def prompt_tokens(self, model: str, source: Source, question: str) -> int:
        """As in Session."""
        found: int = self._one(SessionCall("prompt_tokens", model, (question,)), self.open(source))
        return found

    def probe(self, model: str, source: Source, question: str, patience_s: float) -> None:
        """As in Session; one of the replicas is asked."""
        self._one(SessionCall("probe", model, (question, patience_s)), self.open(source))

    def _device_of(self, lvlm: LVLM) -> Device:
        place = str(lvlm.model.device)
        with self._lock:
            return self._devices.setdefault(place, Device(place, self._replicas.most))

    def _elsewhere(self, call: SessionCall, opened: OpenedSource) -> Generator[Any, None, None]:
        if call.method in SHORT:
            return self._replicas.events(call, opened)
        device = self.device(call.model)
        if call.method == "ask":  # questions that wait in a replica share a batch
            return self._replicas.events(call, opened)
        return device.steps(lambda: self._turn(call, opened, device.wanted))

    def _turn(self, call: SessionCall, opened: OpenedSource, wanted: bool) -> Generator[Any, None, None]:
        """A turn that began while others wait does not measure again in pairs."""
        spared = wanted and call.method == "compare" and call.named["pairs_s"] > 0
        if spared:
            call = replace(call, named={**call.named, "pairs_s": 0.0})
        with closing(self._replicas.events(call, opened)) as events:
            for event in events:
                if spared and isinstance(event, TurnOver):
                    yield OthersWait()
                yield event
