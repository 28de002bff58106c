"""All methods. To add one, add a file and one line in this table."""

from importlib import import_module

from vscan_core.reducers.base import Reducer, Then
from vscan_core.reducers.forced import Forced

METHODS = (  # class names, in menu order; the module of each has the same name in lower case
    "VScan",
    "VisPruner",
    "FasterVLM",
    "VisionZip",
    "DivPrune",
    "PruMerge",
    "ToMe",
    "TokenTransforming",
    "Trim",
    "CDPruner",
    "FastV",
    "PyramidDrop",
    "SparseVLM",
    "PACT",
    "TopV",
    "GreedyPrune",
    "Random",
    "Grid",
    "Downsample",
)
REDUCERS: dict[str, type[Reducer]] = {
    name.lower(): getattr(import_module(f"{__name__}.{name.lower()}"), name) for name in METHODS
}

__all__ = ["REDUCERS", "Forced", "Reducer", "Then"]


def __getattr__(name: str) -> type[Reducer]:
    """`from vscan_core.reducers import FastV`, for every method in the table."""
    if name in METHODS:
        return REDUCERS[name.lower()]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
