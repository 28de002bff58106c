"""One benchmark: the device's ceilings, then every model with every test, row by row into a record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from vscan_core.bench.ceilings import ceilings
from vscan_core.bench.counts import count_rows
from vscan_core.bench.decode import decode_rows
from vscan_core.bench.memory import memory_rows
from vscan_core.bench.modes import mode_rows
from vscan_core.bench.prefill import prefill_rows
from vscan_core.bench.record import Record, significant
from vscan_core.bench.rounds import Failure, attempt
from vscan_core.bench.sizes import size_rows
from vscan_core.bench.subject import Subject
from vscan_core.bench.suites import Suite
from vscan_core.loading import load_model
from vscan_core.measure import release_memory

_Row = dict[str, Any]
Rows = Iterator[_Row]


@dataclass(frozen=True)
class Benchmark:
    """What to measure, on which device, into which record."""

    suite: Suite
    device: torch.device
    attention: str
    seed: int
    record: Record

    def run(self) -> None:
        """Measure everything; what cannot run becomes a row that says why."""
        product, copied = ceilings(self.suite, self.device, getattr(torch, self.suite.dtype), self.seed)
        for row in (product, copied):
            self.record.add(row)
        for name in self.suite.models:
            self._model(name, self.suite.tests, product)
            release_memory()
        for name in self.suite.growth:
            self._model(name, ("sizes",), product)
            release_memory()

    def _model(self, name: str, tests: Sequence[str], product: _Row) -> None:
        head, dtype = {"model": name, "attention": self.attention}, getattr(torch, self.suite.dtype)
        load = partial(load_model, name, device=self.device, dtype=dtype, attn_implementation=self.attention)
        lvlm = attempt(load, self.device)
        if isinstance(lvlm, Failure):
            self.record.add({"test": "load", **head, **lvlm.row()})
            return
        subject = Subject(lvlm, self.suite, self.seed)
        for test in tests:
            failure = attempt(partial(self._test, TESTS[test], subject, head, product), self.device)
            if isinstance(failure, Failure):
                self.record.add({"test": test, **head, **failure.row()})

    def _test(self, test: Callable[[Subject], Rows], subject: Subject, head: dict[str, str], product: _Row) -> None:
        for row in test(subject):
            if "tflops_per_s" in row and product["status"] == "ok":
                share = row["tflops_per_s"] / product["tflops_per_s"]["median"]
                row["share_of_matrix_product"] = significant(share)
            self.record.add({"test": row["test"], **head, **row})


def _prefill(subject: Subject) -> Rows:
    yield from prefill_rows(subject, subject.inputs(), "pictures: 1")


def _decode(subject: Subject) -> Rows:
    for rows in subject.suite.batches:
        yield from decode_rows(subject.at_lowest_retention(), rows)


def _modes(subject: Subject) -> Rows:
    yield from mode_rows(subject.at_lowest_retention())


def _memory(subject: Subject) -> Rows:
    yield from memory_rows(subject, subject.inputs())


def _counts(subject: Subject) -> Rows:
    yield from count_rows(subject, subject.inputs())


TESTS: dict[str, Callable[[Subject], Rows]] = {
    "prefill": _prefill,
    "decode": _decode,
    "modes": _modes,
    "memory": _memory,
    "counts": _counts,
    "sizes": size_rows,
}
