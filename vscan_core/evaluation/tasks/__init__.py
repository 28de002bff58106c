"""Every task on offer. A new one is one new file and one line in this table."""

from vscan_core.evaluation.task import Task
from vscan_core.evaluation.tasks.world import World, WorldCombos, WorldStyle

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (
        World,
        WorldStyle,
        WorldCombos,
    )
}

__all__ = ["TASKS", "World", "WorldCombos", "WorldStyle"]
