"""Several runs, measured in turn: in a new random order in each round, so that drift of the machine affects all alike.

Ratios are taken within a round and never between records.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from vscan_core.bench.record import quartiles
from vscan_core.errors import InputError, OutOfMemory, first_line
from vscan_core.measure import memory_guard

T = TypeVar("T")
Figures = Mapping[str, float]  # of one run: {name with its unit: value}


@dataclass(frozen=True)
class Failure:
    """Why a row has no figures."""

    status: str  # "out of memory", "unsupported" or "failed"
    reason: str

    def row(self) -> dict[str, str]:
        """As a part of a record's row."""
        return {"status": self.status, "reason": self.reason}


def attempt(function: Callable[[], T], device: torch.device) -> T | Failure:
    """What a function returns, or why it does not: a benchmark goes on with the next row, whatever went wrong."""
    try:
        with memory_guard(device):
            return function()
    except OutOfMemory as error:
        return Failure("out of memory", first_line(error))
    except InputError as error:
        return Failure("unsupported", first_line(error))
    except Exception as error:  # of any library below: it becomes a row
        return Failure("failed", f"{type(error).__name__}: {first_line(error)}")


@dataclass(frozen=True)
class Rounds:
    """The figures of several runs."""

    figures: Mapping[str, list[Figures]]  # {run: one entry per round}
    failures: Mapping[str, Failure]  # {run: why it was left out}

    def row(self, run: str) -> dict[str, Any]:
        """The spread of every figure of a run, or why there is none."""
        if run in self.failures:
            return self.failures[run].row()
        found = self.figures[run]
        return {"status": "ok", **{name: quartiles([one[name] for one in found]) for name in found[0]}}

    def ratio(self, top: str, bottom: str, figure: str) -> dict[str, float] | None:
        """The spread of the ratio of a figure of two runs, round by round; None if one of the runs failed."""
        if {top, bottom} & self.failures.keys():
            return None
        pairs = zip(self.figures[top], self.figures[bottom], strict=True)
        return quartiles([above[figure] / below[figure] for above, below in pairs])


def measured(
    runs: Mapping[str, Callable[[], Figures]], rounds: int, warm_ups: int, order: random.Random, device: torch.device
) -> Rounds:
    """Call every run once per round, in an order that is shuffled anew; the first `warm_ups` rounds do not count."""
    figures: dict[str, list[Figures]] = {name: [] for name in runs}
    failures: dict[str, Failure] = {}
    for number in range(warm_ups + rounds):
        names = [name for name in runs if name not in failures]
        order.shuffle(names)
        for name in names:
            found = attempt(runs[name], device)
            if isinstance(found, Failure):
                failures[name] = found
            elif number >= warm_ups:
                figures[name].append(found)
    return Rounds(figures, failures)
