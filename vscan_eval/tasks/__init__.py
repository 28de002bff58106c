"""All tasks. A new one takes one new file and one name in this table."""

from vscan_eval.task import Task
from vscan_eval.tasks.chartqa import ChartQa
from vscan_eval.tasks.docvqa import DocVqa
from vscan_eval.tasks.gqa import Gqa
from vscan_eval.tasks.mmbench import MmBench
from vscan_eval.tasks.mme import Mme
from vscan_eval.tasks.ocrbench import OcrBench
from vscan_eval.tasks.pope import Pope
from vscan_eval.tasks.refcoco import RefCoco
from vscan_eval.tasks.scienceqa import ScienceQa
from vscan_eval.tasks.textvqa import TextVqa
from vscan_eval.tasks.vizwiz import VizWiz
from vscan_eval.tasks.world import World, WorldCaptions, WorldCombos, WorldStyle

_ALL = (
    *(World, WorldStyle, WorldCombos, WorldCaptions),
    *(Pope, Gqa, TextVqa, Mme, ScienceQa, MmBench, VizWiz, RefCoco),
    *(DocVqa, ChartQa, OcrBench),
)
TASKS: dict[str, type[Task]] = {task.name: task for task in _ALL}
