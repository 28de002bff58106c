"""All methods. To add one, add a file and one line in METHODS, or name it in another package's entry points."""

from importlib import import_module

from vscan_core.reducers.base import Reducer, Then
from vscan_core.reducers.forced import Forced
from vscan_core.reducers.table import MethodTable

METHODS = (  # class names, in menu order; the module of each has the same name in lower case
    "VScan",
    "Cascade",
    "VisPruner",
    "FasterVLM",
    "VisionZip",
    "DivPrune",
    "PruMerge",
    "ToMe",
    "TokenTransforming",
    "Trim",
    "CDPruner",
    "SCOPE",
    "HoloV",
    "HiPrune",
    "OTPrune",
    "PruneSID",
    "ApET",
    "EVS",
    "VidCom2",
    "FastV",
    "PyramidDrop",
    "SparseVLM",
    "PACT",
    "TopV",
    "GreedyPrune",
    "DART",
    "V2Drop",
    "IVCPrune",
    "Random",
    "Grid",
    "Downsample",
)
REDUCERS = MethodTable({name.lower(): getattr(import_module(f"{__name__}.{name.lower()}"), name) for name in METHODS})

__all__ = ["REDUCERS", "Forced", "MethodTable", "Reducer", "Then"]


def __getattr__(name: str) -> type[Reducer]:
    """`from vscan_core.reducers import FastV`, for every method in the table."""
    if name in METHODS:
        return REDUCERS[name.lower()]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
