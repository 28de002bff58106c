"""`generate` runs again with all visual tokens if the answer of a cascade's first reading is unsure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from vscan_core.engine.generate_hook import given_by_name, setting
from vscan_core.engine.membership import Block, entered
from vscan_core.engine.state import Current, Timed
from vscan_core.errors import InputError
from vscan_core.families.method_hook import MethodHook, Removable
from vscan_core.trace import Trace
from vscan_core.versions import cache_in

ONE_GREEDY = {  # settings of `generate` with one greedy answer that is known only when it is complete
    "do_sample": (None, False),
    "num_beams": (None, 1),
    "assistant_model": (None,),
    "prompt_lookup_num_tokens": (None,),
    "streamer": (None,),
}
GREEDY_ONLY = (
    "this method reads the prompt again if a greedy answer is unsure, which does not go with {}; leave it out, or "
    "choose another method"
)


class Margins(LogitsProcessor):  # type: ignore[misc]
    """Notes by how much the best next token leads the second, in log-probability, step by step."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (rows, vocabulary) are returned as they are."""
        self.steps.append(margin(scores))
        return scores

    def least(self, lengths: Sequence[int]) -> list[float]:
        """The smallest of each row's first `lengths` steps."""
        table = torch.stack(self.steps, dim=1).cpu()
        return [float(row[:length].min()) for row, length in zip(table, lengths, strict=True)]


def margin(logits: Tensor) -> Tensor:
    """(..., vocabulary) -> (...): by how much the best choice leads the second, in log-probability."""
    best = logits.float().topk(2, dim=-1).values
    return best[..., 0] - best[..., 1]


def answer_length(tokens: Sequence[int], stops: set[int]) -> int:
    """The number of tokens up to the first that ends an answer, which counts; all of them if there is none."""
    return next((place + 1 for place, token in enumerate(tokens) if token in stops), len(tokens))


def stop_ids(model: Any) -> set[int]:
    """The tokens that end an answer."""
    return as_ids(model.generation_config.eos_token_id)


def as_ids(end: Any) -> set[int]:
    """One token or several."""
    return set(torch.as_tensor(end).flatten().tolist()) if end is not None else set()


class SecondReading:
    """A hook on `generate`. below: see `Reducer.unsure_below`; `all_tokens()` opens a block in which nothing is cut."""

    def __init__(
        self, model: Any, below: float | None, trace: Trace, all_tokens: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        self.model, self.below, self.trace, self.all_tokens = model, below, trace, all_tokens

    def hooks(self, current: Current, timed: Timed) -> list[Removable]:
        """Register; `current()` gives the calling thread's state, or None if this call is not ours."""
        if (below := self.below) is None or not hasattr(self.model, "generate"):
            return []

        def around(run: Any, *args: Any, **kwargs: Any) -> Any:
            if current() is None:
                return run(*args, **kwargs)
            return self._generate(below, run, given_by_name(self.model, args, kwargs))

        return [MethodHook(self.model, "generate", around, "around")]

    def _generate(self, below: float, run: Any, given: dict[str, Any]) -> Any:
        self._check(given)
        self.trace.read_twice = False
        margins, others = Margins(), given.get("logits_processor") or []
        out = run(**{**given, "logits_processor": LogitsProcessorList([*others, margins])})
        rows = getattr(out, "sequences", out)[:, -len(margins.steps) :].tolist()
        stops = as_ids(setting(self.model, given, "eos_token_id"))
        least = margins.least([answer_length(row, stops) for row in rows])
        if all(found >= below for found in least):
            return out
        with self.all_tokens() as opened:
            block: Block = opened
            with entered(block):
                out = self.model.generate(**given)
        vars(self.trace).update(vars(opened.trace.after(self.trace)))
        return out

    def _check(self, given: dict[str, Any]) -> None:
        """Raise InputError for what is no single greedy answer."""
        for name, fine in ONE_GREEDY.items():
            if setting(self.model, given, name) not in fine:
                raise InputError(GREEDY_ONLY.format(name))
        if cache_in(given) is not None:
            raise InputError(GREEDY_ONLY.format("a cache of your own"))
