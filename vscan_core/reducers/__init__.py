"""Every method on offer. A new one is one new file and one name in this tuple."""

from vscan_core.reducers.base import Reducer, Then
from vscan_core.reducers.cdpruner import CDPruner
from vscan_core.reducers.divprune import DivPrune
from vscan_core.reducers.downsample import Downsample
from vscan_core.reducers.fastervlm import FasterVLM
from vscan_core.reducers.fastv import FastV
from vscan_core.reducers.greedyprune import GreedyPrune
from vscan_core.reducers.grid import Grid
from vscan_core.reducers.pact import PACT
from vscan_core.reducers.prumerge import PruMerge
from vscan_core.reducers.pyramiddrop import PyramidDrop
from vscan_core.reducers.random import Random
from vscan_core.reducers.sparsevlm import SparseVLM
from vscan_core.reducers.tokentransforming import TokenTransforming
from vscan_core.reducers.tome import ToMe
from vscan_core.reducers.topv import TopV
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
        ToMe,
        TokenTransforming,
        Trim,
        CDPruner,
        FastV,
        PyramidDrop,
        SparseVLM,
        PACT,
        TopV,
        GreedyPrune,
        Random,
        Grid,
        Downsample,
    )
}

__all__ = [
    "PACT",
    "REDUCERS",
    "CDPruner",
    "DivPrune",
    "Downsample",
    "FastV",
    "FasterVLM",
    "GreedyPrune",
    "Grid",
    "PruMerge",
    "PyramidDrop",
    "Random",
    "Reducer",
    "SparseVLM",
    "Then",
    "ToMe",
    "TokenTransforming",
    "TopV",
    "Trim",
    "VScan",
    "VisPruner",
    "VisionZip",
]
