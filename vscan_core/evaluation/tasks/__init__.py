"""Every task on offer. A new one is one new file and one name in this table."""

from vscan_core.evaluation.task import Task
from vscan_core.evaluation.tasks.gqa import Gqa
from vscan_core.evaluation.tasks.mmbench import MmBench
from vscan_core.evaluation.tasks.mme import Mme
from vscan_core.evaluation.tasks.pope import Pope
from vscan_core.evaluation.tasks.refcoco import RefCoco
from vscan_core.evaluation.tasks.scienceqa import ScienceQa
from vscan_core.evaluation.tasks.textvqa import TextVqa
from vscan_core.evaluation.tasks.vizwiz import VizWiz
from vscan_core.evaluation.tasks.world import World, WorldCaptions, WorldCombos, WorldStyle

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (
        World,
        WorldStyle,
        WorldCombos,
        WorldCaptions,
        Pope,
        Gqa,
        TextVqa,
        Mme,
        ScienceQa,
        MmBench,
        VizWiz,
        RefCoco,
    )
}

__all__ = [
    "TASKS",
    "Gqa",
    "MmBench",
    "Mme",
    "Pope",
    "RefCoco",
    "ScienceQa",
    "TextVqa",
    "VizWiz",
    "World",
    "WorldCaptions",
    "WorldCombos",
    "WorldStyle",
]
