"""The cells of a record of accuracy: every method at every retention, or VScan with one thing changed at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import vscan_core as vc
from vscan_eval.replies import BLIND, DENSE, Condition


@dataclass(frozen=True)
class Measurement:
    """One row of the record; `make` raises InputError if the method cannot reach the retention."""

    name: str
    retention: float | None  # None for the dense model and the floor
    make: Callable[[], Condition]
    group: str | None = None
    variant: str | None = None


COMPARED_WITH = {  # rows that all others are compared with
    "dense": Measurement(DENSE, None, lambda: Condition(DENSE)),
    "floor": Measurement(BLIND, None, lambda: Condition(BLIND)),
}


def grid(methods: Sequence[str], retentions: Sequence[float]) -> list[Measurement]:
    """Every method at every retention, retention by retention, so that an interrupted run covers all alike."""
    return [
        Measurement(name, share, lambda name=name, share=share: Condition.named(name, share))
        for share in retentions
        for name in methods
    ]


def ablations(retention: float, anatomy: vc.Anatomy) -> list[Measurement]:
    """VScan with one thing changed at a time, as in the paper's ablations; the unchanged one first."""
    own = vc.VScan(retention)
    cells = [_variant("VScan as published", "all parts", own)]
    for layer in range(1, anatomy.text_layers):
        cells.append(_variant("layer of the second cut", f"layer {layer}", replace(own, prune_layer=layer)))
    for layer in range(anatomy.feature_layer + 1):
        cells.append(_variant("layer of the local scan", f"layer {layer}", replace(own, local_layer=layer)))
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        cells.append(_variant("share of the local scan", f"{share:.0%}", replace(own, local_share=share)))
    for merge in (True, False):
        cells.append(_variant("merging", "on" if merge else "off", replace(own, merge=merge)))
    for mode in ("renumbered", "original"):
        cells.append(_variant("positions", mode, replace(own, positions=mode)))
    cells.append(_variant("cuts", "two: encoder and LLM", own))
    cells.append(_variant("cuts", "one: encoder only", replace(own, encoder_keep=float(retention), llm_keep={})))
    return cells


def _variant(group: str, variant: str, reducer: vc.VScan) -> Measurement:
    return Measurement("vscan", reducer.retention, lambda: Condition("vscan", reducer), group, variant)
