"""Run one condition over a task's items, batch by batch, into a file from which an interrupted run resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from vscan_core.lvlm import LVLM
from vscan_eval.records import AnswerFile, AnswerRecord, digest, identity
from vscan_eval.replies import Condition, Prompt, generate_replies, sharing
from vscan_eval.task import Item, Task

ANSWERS_FOLDER = Path("runs/eval")
BATCH = 16

Progress = Callable[[int, bool], None]  # (questions answered, whether they were already in the file)


def run_task(
    lvlm: LVLM,
    task: Task,
    items: Sequence[Item],
    condition: Condition,
    path: Path,
    *,
    batch: int = BATCH,
    progress: Progress = lambda count, known: None,
) -> list[AnswerRecord]:
    """Answers to all items, in their order; those already in the file at `path` are not asked again.

    Questions are batched the same way however many are already answered, and a batch is asked again unless all of it
    is answered: so an interrupted run gives the same answers as an uninterrupted one. Raises InputError if the method
    refuses, or if the file cannot be used.
    """
    records = AnswerFile(path, identity(lvlm, task, condition))
    plan = list(batches(items, sharing(lvlm, condition), batch))
    todo = [group for group in plan if not all(item.id in records.found for item in group)]
    records.forget([item for group in todo for item in group])
    progress(len(items) - sum(map(len, todo)), True)
    for group in todo:
        records.add(_answer_batch(lvlm, task, condition, group))
        progress(len(group), False)
    return [records.found[item.id] for item in items]


def batches(items: Sequence[Item], shared: str, size: int) -> Iterator[list[Item]]:
    """At most `size` items each; where prompts share work, of one picture, except for pictures with one question."""
    groups = [list(group) for _, group in groupby(items, key=lambda item: item.picture)]
    together = [] if shared == "prompt" else [group for group in groups if len(group) > 1]
    single = [item for group in groups if shared == "prompt" or len(group) == 1 for item in group]
    for group in [*together, single]:
        for start in range(0, len(group), size):
            yield group[start : start + size]


def file_of(lvlm: LVLM, task: Task, condition: Condition) -> Path:
    """The default file of a run's answers; runs that must not mix have different names."""
    found = identity(lvlm, task, condition)
    share = "" if condition.reducer is None else f"-{condition.reducer.retention:.3g}"
    model = lvlm.name.replace("/", "_").replace(":", "_")
    return ANSWERS_FOLDER / f"{model}-{task.name}-{condition.name}{share}-{digest(found)}.jsonl"


def _answer_batch(lvlm: LVLM, task: Task, condition: Condition, group: list[Item]) -> list[AnswerRecord]:
    pictures = {item.picture: item.open() for item in {item.picture: item for item in group}.values()}
    prompts = [Prompt(pictures[item.picture], task.prompt(item)) for item in group]
    replies = generate_replies(lvlm, condition, prompts, task.max_new_tokens)
    return [
        AnswerRecord(item.id, item.picture, item.kind, reply.text, task.score(item, reply.text), reply.visual_tokens)
        for item, reply in zip(group, replies, strict=True)
    ]
