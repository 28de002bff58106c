"""Every method on offer. A new one is one new file and one name in this tuple."""

from vscan_core.reducers.base import Reducer
from vscan_core.reducers.cdpruner import CDPruner
from vscan_core.reducers.divprune import DivPrune
from vscan_core.reducers.fastervlm import FasterVLM
from vscan_core.reducers.fastv import FastV
from vscan_core.reducers.grid import Grid
from vscan_core.reducers.prumerge import PruMerge
from vscan_core.reducers.pyramiddrop import PyramidDrop
from vscan_core.reducers.random import Random
from vscan_core.reducers.sparsevlm import SparseVLM
from vscan_core.reducers.trim import Trim
from vscan_core.reducers.visionzip import VisionZip
from vscan_core.reducers.vispruner import VisPruner
from vscan_core.reducers.vscan import VScan

REDUCERS: dict[str, type[Reducer]] = {
    cls.__name__.lower(): cls
    for cls in (
        VScan,
        VisPruner,
        FasterVLM,
        VisionZip,
        DivPrune,
        PruMerge,
        Trim,
        CDPruner,
        FastV,
        PyramidDrop,
        SparseVLM,
        Random,
        Grid,
    )
}

__all__ = [
    "REDUCERS",
    "CDPruner",
    "DivPrune",
    "FastV",
    "FasterVLM",
    "Grid",
    "PruMerge",
    "PyramidDrop",
    "Random",
    "Reducer",
    "SparseVLM",
    "Trim",
    "VScan",
    "VisPruner",
    "VisionZip",
]
