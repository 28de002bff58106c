"""Which methods vLLM can run for a model: with a single cut, at the entrance of the LLM, blind to the question."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vscan_core.errors import InputError
from vscan_core.families import family_of
from vscan_core.reducers import REDUCERS, Reducer
from vscan_core.selection import Anatomy
from vscan_core.serving import anatomy_of, one_stage
from vscan_vllm.settings import VSCAN_KEY, method_of


@dataclass(frozen=True, eq=False)
class Servable:
    """The methods of one model, by its transformers configuration alone."""

    config: Any

    @cached_property
    def anatomy(self) -> Anatomy:
        """Raises InputError for a model that this library does not support."""
        return anatomy_of(self.config)

    @cached_property
    def methods(self) -> list[str]:
        """The names of the methods that work with their default settings."""
        return [name for name, method in REDUCERS.items() if self._works(method())]

    @property
    def default(self) -> Any:
        """What a request gets that says nothing: the operator's choice, else null."""
        return getattr(self.config, VSCAN_KEY, None)

    def wanted(self, given: Any) -> tuple[Reducer | None, str | None]:
        """What a client or the operator wrote -> the method as vLLM runs it, and a sentence if that is not all of it.

        The method is None for every visual token. Raises InputError, in one sentence, for what does not work.
        """
        asked = method_of(given)
        return (None, None) if asked is None else self._running(asked)

    def _works(self, asked: Reducer) -> bool:
        try:
            self._running(asked)
        except InputError:
            return False
        return True

    def _running(self, asked: Reducer) -> tuple[Reducer, str | None]:
        made, changed = one_stage(asked, self.anatomy)
        demands = made.demands(self.anatomy)
        layers = (*demands.needs.cls_attention, *demands.needs.received)
        reason = ""
        if not demands.question_blind:
            reason = "needs the question, and vLLM encodes a picture once for all questions"
        elif demands.merges_in_encoder:
            reason = "merges tokens inside the vision encoder, which is vLLM's own"
        elif demands.reads_twice:
            reason = "asks a second time if an answer is unsure, and vLLM answers once"
        elif demands.adaptive:
            reason = "decides by the picture how many tokens stay, and vLLM must know it from the size alone"
        elif any(layer > self.anatomy.feature_layer for layer in layers):
            reason = f"needs a vision layer above {self.anatomy.feature_layer}, the last one that vLLM loads"
        elif made.position_mode(self.anatomy) != self.anatomy.positions:
            reason = f"can have only {self.anatomy.positions} positions in vLLM"
        if reason:
            raise InputError(f"{asked.title} {reason}; choose another method or setting")
        model: Any = _Configured(self.config)
        family_of(model).check(demands.needs)
        return made, changed


@dataclass(frozen=True, eq=False)
class _Configured:
    """Stands for a model, of which its family looks at nothing but the configuration."""

    config: Any
