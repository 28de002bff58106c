"""Run conditions over a task's items, batch by batch, into files from which an interrupted run resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from vscan_core.errors import OutOfMemory
from vscan_core.lvlm import LVLM
from vscan_core.picture_encoder import PictureEncoder
from vscan_eval.records import AnswerFile, AnswerRecord, digest, identity
from vscan_eval.replies import BLIND, Condition, Prompt, PromptBatch
from vscan_eval.task import Item, Task

ANSWERS_FOLDER = Path("runs/eval")
BATCH = 16  # on a CPU, and on a GPU for models that see a picture as several tiles
GPU_BATCH = 32

Progress = Callable[[int, bool], None]  # (questions answered, whether they were already in the file)
ProgressOfMany = Callable[[int, int, bool], None]  # (index of the run, and the same)


def run_task(
    lvlm: LVLM,
    task: Task,
    items: Sequence[Item],
    condition: Condition,
    path: Path,
    *,
    batch: int | None = None,
    progress: Progress = lambda count, known: None,
) -> list[AnswerRecord]:
    """`run_tasks` for one condition."""
    told: ProgressOfMany = lambda run, count, known: progress(count, known)  # noqa: E731
    return run_tasks(lvlm, task, items, [(condition, path)], batch=batch, progress=told)[0]


def run_tasks(
    lvlm: LVLM,
    task: Task,
    items: Sequence[Item],
    runs: Sequence[tuple[Condition, Path]],
    *,
    batch: int | None = None,
    progress: ProgressOfMany = lambda run, count, known: None,
) -> list[list[AnswerRecord]]:
    """Answers to all items, in their order, for every run; those already in the file of a run are not asked again.

    The runs take turns, batch by batch, so that a picture is opened, prepared and encoded once for all of them.
    Questions are batched the same way however many are already answered, and a batch is asked again unless all of it
    is answered: so an interrupted run gives the same answers as an uninterrupted one.

    Args:
        lvlm: The model.
        task: What is asked, and how replies are scored.
        items: Of the task; those of one picture are adjacent.
        runs: Conditions, each with the file of its answers.
        batch: The largest number of questions at once; None: `default_batch`.
        progress: Called with the index of a run, the number of questions, and whether they were in its file already.

    Raises:
        InputError: A method refuses, or a file cannot be used.
        OutOfMemory: A batch does not fit; answers so far are in the files.
    """
    encoder = PictureEncoder(lvlm, [condition.reducer for condition, _ in runs if condition.name != BLIND])
    files = [AnswerFile(path, identity(lvlm, task, condition)) for condition, path in runs]
    plan = list(batches(items, lvlm.family.one_row_per_picture, batch or default_batch(lvlm)))
    todo = [[any(item.id not in file.found for item in group) for group in plan] for file in files]
    for run, (file, asked) in enumerate(zip(files, todo, strict=True)):
        again = [item for group, missing in zip(plan, asked, strict=True) if missing for item in group]
        file.forget(again)
        progress(run, len(items) - len(again), True)
    for number, group in enumerate(plan):
        waiting = [run for run, asked in enumerate(todo) if asked[number]]
        prompts = _batch_of(lvlm, task, group, encoder) if waiting else None
        for run in waiting:
            assert prompts is not None
            files[run].add(_answer_batch(prompts, task, runs[run][0], group))
            progress(run, len(group), False)
    return [[file.found[item.id] for item in items] for file in files]


def default_batch(lvlm: LVLM) -> int:
    """Questions at once if nobody says how many: more on a GPU, unless each picture is several tiles."""
    return GPU_BATCH if lvlm.device.type == "cuda" and lvlm.family.one_row_per_picture else BATCH


def batches(items: Sequence[Item], by_picture: bool, size: int) -> Iterator[list[Item]]:
    """At most `size` items each; `by_picture`: of one picture, except for pictures with one question."""
    groups = [list(group) for _, group in groupby(items, key=lambda item: item.picture)]
    together = [group for group in groups if len(group) > 1] if by_picture else []
    single = [item for group in groups if not by_picture or len(group) == 1 for item in group]
    for group in [*together, single]:
        for start in range(0, len(group), size):
            yield group[start : start + size]


def file_of(lvlm: LVLM, task: Task, condition: Condition) -> Path:
    """The default file of a run's answers; runs that must not mix have different names."""
    found = identity(lvlm, task, condition)
    share = "" if condition.reducer is None else f"-{condition.reducer.retention:.3g}"
    model = lvlm.name.replace("/", "_").replace(":", "_")
    return ANSWERS_FOLDER / f"{model}-{task.name}-{condition.name}{share}-{digest(found)}.jsonl"


def _batch_of(lvlm: LVLM, task: Task, group: list[Item], encoder: PictureEncoder) -> PromptBatch:
    pictures = {item.picture: item.open() for item in {item.picture: item for item in group}.values()}
    prompts = [Prompt(pictures[item.picture], task.prompt(item), item.history) for item in group]
    return PromptBatch(lvlm, prompts, encoder)


def _answer_batch(prompts: PromptBatch, task: Task, condition: Condition, group: list[Item]) -> list[AnswerRecord]:
    try:
        replies = prompts.replies(condition, task.max_new_tokens)
    except OutOfMemory:
        if len(group) == 1:
            raise
        raise OutOfMemory(
            f"Memory ran out with {len(group)} questions at once; run it again with a batch of {len(group) // 2} "
            "(--batch), and it resumes from the answers so far."
        ) from None
    return [
        AnswerRecord(item.id, item.picture, item.kind, reply.text, task.score(item, reply.text), reply.visual_tokens)
        for item, reply in zip(group, replies, strict=True)
    ]
