"""Run one method over a task's items, batch by batch, into a file that an interrupted run continues."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from vscan_core.lvlm import LVLM
from vscan_eval.records import Record, Records, digest, identity
from vscan_eval.replies import Method, Prompt, ask, way
from vscan_eval.task import Item, Task

FOLDER = Path("runs/eval")
BATCH = 16

Progress = Callable[[int, bool], None]  # (questions done, whether they were already in the file)


def run(
    lvlm: LVLM,
    task: Task,
    items: Sequence[Item],
    method: Method,
    path: Path,
    *,
    batch: int = BATCH,
    progress: Progress = lambda count, known: None,
) -> list[Record]:
    """Answers to all items, in their order; those already in the file at `path` are not asked again.

    Questions are batched the same way whatever is already known, and a batch is asked again unless all of it is
    known: so an interrupted run gives the same answers as one that was not. InputError if the method refuses.
    """
    records = Records(path, identity(lvlm, task, method))
    plan = list(batches(items, way(lvlm, method), batch))
    todo = [group for group in plan if not all(item.id in records.found for item in group)]
    records.forget([item for group in todo for item in group])
    progress(len(items) - sum(map(len, todo)), True)
    for group in todo:
        records.add(_asked(lvlm, task, method, group))
        progress(len(group), False)
    return [records.found[item.id] for item in items]


def batches(items: Sequence[Item], shared: str, size: int) -> Iterator[list[Item]]:
    """At most `size` items each; where prompts share work, of one picture, but for pictures with one question."""
    groups = [list(group) for _, group in groupby(items, key=lambda item: item.picture)]
    together = [] if shared == "prompt" else [group for group in groups if len(group) > 1]
    single = [item for group in groups if shared == "prompt" or len(group) == 1 for item in group]
    for group in [*together, single]:
        for start in range(0, len(group), size):
            yield group[start : start + size]


def file_of(lvlm: LVLM, task: Task, method: Method) -> Path:
    """Where a run's answers go unless told otherwise; runs that may not mix have different names."""
    found = identity(lvlm, task, method)
    share = "" if method.reducer is None else f"-{method.reducer.retention:.3g}"
    model = lvlm.name.replace("/", "_").replace(":", "_")
    return FOLDER / f"{model}-{task.name}-{method.name}{share}-{digest(found)}.jsonl"


def _asked(lvlm: LVLM, task: Task, method: Method, group: list[Item]) -> list[Record]:
    pictures = {item.picture: item.open() for item in {item.picture: item for item in group}.values()}
    prompts = [Prompt(pictures[item.picture], task.prompt(item)) for item in group]
    replies = ask(lvlm, method, prompts, task.max_new_tokens)
    return [
        Record(item.id, item.picture, item.kind, reply.text, task.score(item, reply.text), reply.visual_tokens)
        for item, reply in zip(group, replies, strict=True)
    ]
