"""A family's entries in the catalog: checkpoints on the Hugging Face Hub, and scaled-down random weights for a CPU."""

from __future__ import annotations

from dataclasses import dataclass

from vscan_core.dummies.shapes import Shape


@dataclass(frozen=True)
class Defaults:
    """Default settings of `VScan()` on a model; layers count from 0."""

    local_layer: int  # vision layer of the local scan
    global_layer: int  # vision layer of the global scan
    prune_layer: int  # decoder layer of the later cut
    positions: str  # "renumbered" | "original"
    source: str  # "published" (paper or released code), or "ours": see the family's file


@dataclass(frozen=True)
class HubModel:
    """A checkpoint on the Hub, and the shape of its counterpart with random weights."""

    source: str  # Hub id
    title: str
    about: str
    billions: float  # of parameters
    licence: str
    dummy: str  # name of the counterpart with random weights, without "dummy:"
    shape: Shape
    defaults: Defaults


@dataclass(frozen=True)
class SmallModel:
    """A scaled-down architecture with random weights and as many visual tokens per tile as the real one."""

    name: str  # without "dummy:"
    title: str
    millions: int  # of parameters
    shape: Shape
