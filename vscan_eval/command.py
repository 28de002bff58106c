"""`vscan eval`: the accuracy of methods on a task, beside the dense model and the model without the picture."""

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
from vscan_eval.downsample_filter import FILTERING_METHOD
from vscan_eval.records import AnswerRecord
from vscan_eval.replies import BLIND, DENSE, Condition
from vscan_eval.rerun import command_again, setting_of, share_of
from vscan_eval.summary import results_table, summarise
from vscan_eval.task import Item, Task
from vscan_eval.tasks import TASKS

REFERENCE_ROLES = {DENSE: "dense", BLIND: "floor", FILTERING_METHOD: "downsample"}  # their names beside a method
_HELP = "measure the accuracy of methods on a task; an interrupted run resumes where it stopped"


def add(commands: Any) -> None:
    """Add `eval` to the command line."""
    command: argparse.ArgumentParser = commands.add_parser("eval", help=_HELP, description=_HELP)
    command.add_argument("--task", required=True, metavar="T", help=", ".join(TASKS))
    command.add_argument("--data", type=Path, metavar="DIR", help="folder (or file) with the task's published files")
    command.add_argument("--model", default="mini", metavar="M", help="see `models`; default mini")
    command.add_argument(
        "--method",
        default=DENSE,
        metavar="NAME",
        help="see `methods`; or baseline (default), or none; several, separated by commas, share all work they can",
    )
    command.add_argument(
        "--retention", type=share_of, default=1 / 9, metavar="R", help="0 < R <= 1, also as 1/9; default 1/9"
    )
    command.add_argument(
        "--set",
        type=setting_of,
        action="append",
        default=[],
        dest="settings",
        metavar="NAME=VALUE",
        help="a setting of the method, such as local_share=0.25; may be repeated",
    )
    command.add_argument("--limit", type=int, metavar="N", help="ask only the first N questions")
    command.add_argument(
        "--seed", type=int, metavar="S", help="draw new scenes (world tasks) or shuffle the pictures (other tasks)"
    )
    command.add_argument(
        "--second-turn",
        action="store_true",
        help="ask each question after another one about its picture and the reference answer to that; a picture's only "
        "question is left out",
    )
    command.add_argument(
        "--out", type=Path, metavar="F", help=f"file for a method's answers; default: one in {runner.ANSWERS_FOLDER}"
    )
    command.add_argument(
        "--batch",
        type=int,
        metavar="N",
        help=f"at most N questions per batch; default {runner.BATCH}; {runner.GPU_BATCH} on a GPU without tiles",
    )
    command.add_argument(
        "--alone", action="store_true", help="skip the baseline, downsample and the run without visual tokens"
    )
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
    """Measure the methods, and unless told otherwise the references, and print the results.

    The references: the baseline, the model without the picture, and, for a method, `downsample` at its retention.

    Raises InputError for options that do not fit, SystemExit(130) if interrupted.
    """
    if options.batch is not None and options.batch < 1:
        raise InputError(f"--batch must be at least 1 question, but is {options.batch}")
    names = dict.fromkeys(name.strip() for name in options.method.split(","))
    if options.settings and len(names) > 1:
        raise InputError("--set changes one method; leave it out for several, or measure them one by one")
    asked = [Condition.named(name, options.retention, **dict(options.settings)) for name in names]
    if options.out and len(asked) > 1:
        raise InputError("--out names the file of one method; leave it out for several, and each has a file of its own")
    task = task_named(options.task, options.data, options.seed)
    task.second_turn = options.second_turn
    items = task.chosen(options.limit)
    lvlm = load_model(options.model)
    compared = [Condition(DENSE)]
    if any(each.reducer is not None for each in asked):
        compared.append(Condition.named(FILTERING_METHOD, options.retention))
    references = [] if options.alone else [compared[0], Condition(BLIND), *compared[1:]]
    methods = [*asked, *(each for each in references if each not in asked)]  # settings may not be hashable
    paths = [options.out if each == asked[0] and options.out else runner.file_of(lvlm, task, each) for each in methods]
    try:
        answers = with_bar(lvlm, task, items, list(zip(methods, paths, strict=True)), options.batch)
    except KeyboardInterrupt:
        print(
            f"stopped; the answers so far are in {', '.join(map(str, paths))}, and the same command resumes from there",
            file=sys.stderr,
        )
        raise SystemExit(130) from None
    known = [answers[methods.index(each)] if each in methods else None for each in compared]
    rows = [
        summarise(task, items, each, found, *(known if each.name != DENSE else ()))
        | {"command": command_again(options.model, task, options.limit, each)}
        for each, found in zip(methods, answers, strict=True)
    ]
    if not options.json:
        print(results_table(task, rows))
        return
    own, beside = rows[: len(asked)], {REFERENCE_ROLES[row["method"]]: row for row in rows[len(asked) :]}
    about = {"model": lvlm.name, "task": task.name, "seed": task.seed, "second_turn": task.second_turn}
    print(json.dumps({**about, **(own[0] if len(asked) == 1 else {"methods": own}), **beside}))


def with_bar(
    lvlm: LVLM, task: Task, items: Sequence[Item], runs: Sequence[tuple[Condition, Path]], batch: int | None = None
) -> list[list[AnswerRecord]]:
    """`runner.run_tasks` with a progress bar on a terminal; says where answers are, and how many were there already."""
    known = [0] * len(runs)

    def progress(run: int, count: int, already: bool) -> None:
        if already:
            known[run] = count
            bar.initial = sum(known)
        bar.update(count)

    with tqdm(total=len(items) * len(runs), desc=task.name, unit="q", disable=None, file=sys.stderr) as bar:
        found = runner.run_tasks(lvlm, task, items, runs, batch=batch, progress=progress)
    for (condition, path), count in zip(runs, known, strict=True):
        if count:
            print(f"{condition.name}: {count} of {len(items)} answers were already in the file", file=sys.stderr)
        print(f"{condition.name}: answers in {path}", file=sys.stderr)
    return found
