"""`vscan eval`: the accuracy of a method on a task, beside the dense model and the model without the picture."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vscan_core.errors import InputError
from vscan_core.loading import load_model
from vscan_core.lvlm import LVLM
from vscan_eval import runner
from vscan_eval.records import AnswerRecord
from vscan_eval.replies import BLIND, DENSE, Condition
from vscan_eval.summary import results_table, summarise
from vscan_eval.task import Item, Task
from vscan_eval.tasks import TASKS

REFERENCE_ROLES = {DENSE: "dense", BLIND: "floor"}  # what they are called beside another method
_HELP = "measure the accuracy of a method on a task; an interrupted run resumes where it stopped"


def add(commands: Any) -> None:
    """Add `eval` to the command line."""
    command: argparse.ArgumentParser = commands.add_parser("eval", help=_HELP, description=_HELP)
    command.add_argument("--task", required=True, metavar="T", help=", ".join(TASKS))
    command.add_argument("--data", type=Path, metavar="DIR", help="folder (or file) with the task's published files")
    command.add_argument("--model", default="mini", metavar="M", help="see `models`; default mini")
    command.add_argument(
        "--method", default=DENSE, metavar="NAME", help="see `methods`; or baseline (default), or none"
    )
    command.add_argument("--retention", type=float, default=1 / 9, metavar="R", help="0 < R <= 1; default 0.111")
    command.add_argument("--limit", type=int, metavar="N", help="ask only the first N questions")
    command.add_argument(
        "--seed", type=int, metavar="S", help="draw new scenes (world tasks) or shuffle the pictures (other tasks)"
    )
    command.add_argument(
        "--out", type=Path, metavar="F", help=f"file for the answers; default: one in {runner.ANSWERS_FOLDER}"
    )
    command.add_argument(
        "--batch",
        type=int,
        default=runner.BATCH,
        metavar="N",
        help=f"at most N questions per batch; default {runner.BATCH}",
    )
    command.add_argument("--alone", action="store_true", help="skip the baseline and the run without visual tokens")
    command.add_argument(
        "--json", action="store_true", help="print one JSON object as the last line instead of a table"
    )
    command.set_defaults(run=evaluate)


def task_named(name: str, data: Path | None, seed: int | None) -> Task:
    """The task of this name. Raises InputError if there is none."""
    if name not in TASKS:
        raise InputError(f"there is no task {name!r}; choose {', '.join(TASKS)}")
    return TASKS[name](data, seed)


def evaluate(options: argparse.Namespace) -> None:
    """Measure the method, and unless told otherwise its two references, and print the results.

    Raises InputError for options that do not fit, SystemExit(130) if interrupted.
    """
    if options.batch < 1:
        raise InputError(f"--batch must be at least 1 question, but is {options.batch}")
    method = Condition.named(options.method, options.retention)
    task = task_named(options.task, options.data, options.seed)
    items = task.chosen(options.limit)
    lvlm = load_model(options.model)
    methods = [method] if options.alone else [method, Condition(DENSE), Condition(BLIND)]
    methods = list({each.name: each for each in methods}.values())
    records: dict[str, list[AnswerRecord]] = {}
    for each in methods:
        path = options.out if each is method and options.out else runner.file_of(lvlm, task, each)
        try:
            records[each.name] = with_bar(lvlm, task, items, each, path, options.batch)
        except KeyboardInterrupt:
            print(
                f"stopped; the answers so far are in {path}, and the same command resumes from there", file=sys.stderr
            )
            raise SystemExit(130) from None
        print(f"{each.name}: answers in {path}", file=sys.stderr)
    dense = records.get(DENSE)
    rows = [summarise(task, items, each, records[each.name], dense if each.name != DENSE else None) for each in methods]
    if options.json:
        beside = {REFERENCE_ROLES[row["method"]]: row for row in rows[1:]}
        print(json.dumps({"model": lvlm.name, "task": task.name, "seed": task.seed, **rows[0], **beside}))
    else:
        print(results_table(task, rows))


def with_bar(
    lvlm: LVLM, task: Task, items: Sequence[Item], method: Condition, path: Path, batch: int = runner.BATCH
) -> list[AnswerRecord]:
    """`runner.run_task` with a progress bar on a terminal; reports how many answers were already in the file."""
    known = 0

    def progress(count: int, already: bool) -> None:
        nonlocal known
        if already:
            known, bar.initial = count, count
        bar.update(count)

    with tqdm(total=len(items), desc=method.name, unit="q", disable=None, file=sys.stderr) as bar:
        found = runner.run_task(lvlm, task, items, method, path, batch=batch, progress=progress)
    if known:
        print(f"{method.name}: {known} of {len(items)} answers were already in the file", file=sys.stderr)
    return found
