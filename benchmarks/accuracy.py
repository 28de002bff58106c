"""Accuracy over retention of every method, or VScan's ablations, on one task: measured cell by cell, resumable.

python -m benchmarks.accuracy [--limit 300] [--minutes 30] [--ablations 1/9] [--methods vscan,fastv] [--part 1/2]

Every cell (method x retention, or variant) answers the same questions through `vscan_eval`; the cells of one
retention take turns, so that a picture is encoded once for them. Answers are files in runs/eval, so a run that was
stopped, or that hit --minutes, resumes when it is started again. `--part 1/2` and `--part 2/2`, started side by side
with OMP_NUM_THREADS=1, share the cells; the last call, without --part, writes the record into assets/recorded/. A
method that refuses is recorded with its sentence. With `--add`, the rows of the methods in --methods
join the record that is there; each says when and where it was measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from transformers.utils.logging import disable_progress_bar

import vscan_core as vc
from benchmarks.cells import COMPARED_WITH, Measurement, ablations, grid
from benchmarks.derived import GRID_RETENTIONS, derive
from benchmarks.provenance import write_record
from vscan_core.bench.record import provenance
from vscan_eval import runner
from vscan_eval.command import task_named
from vscan_eval.downsample_filter import FILTERING_METHOD
from vscan_eval.records import AnswerRecord, weights
from vscan_eval.replies import DENSE, Condition
from vscan_eval.rerun import share_of
from vscan_eval.summary import summarise
from vscan_eval.task import Item, Task

RECORDED = Path("assets/recorded")


class Bench:
    """One model, one task, one set of questions."""

    def __init__(self, lvlm: vc.LVLM, task: Task, items: Sequence[Item]) -> None:
        self.lvlm, self.task, self.items = lvlm, task, items
        self.dense: list[AnswerRecord] | None = None

    def answer(self, cells: Sequence[Measurement]) -> list[tuple[Condition, list[AnswerRecord]] | str]:
        """The answers of every cell, or why it refuses; those in its file are not asked again."""
        asked = [self._first_question(cell) for cell in cells]
        runs = [one for one in asked if isinstance(one, tuple)]
        answers = iter(runner.run_tasks(self.lvlm, self.task, self.items, runs))
        return [(one[0], next(answers)) if isinstance(one, tuple) else one for one in asked]

    def rows(self, cells: Sequence[Measurement]) -> list[dict[str, Any]]:
        """One row of the record for each cell."""
        return [
            _about(cell) | ({"refused": found} if isinstance(found, str) else self._found(*found))
            for cell, found in zip(cells, self.answer(cells), strict=True)
        ]

    def _first_question(self, cell: Measurement) -> tuple[Condition, Path] | str:
        """Ask it alone -> the method with its file, or the sentence in which it refuses."""
        try:
            method = cell.make()
            path = runner.file_of(self.lvlm, self.task, method)
            runner.run_task(self.lvlm, self.task, self.items[:1], method, path)
        except vc.InputError as refusal:
            return str(refusal)
        return method, path

    def _found(self, method: Condition, records: list[AnswerRecord]) -> dict[str, Any]:
        found = summarise(self.task, self.items, method, records, self.dense)
        if method.name == DENSE:
            self.dense = records
        settings = {} if method.reducer is None else asdict(method.reducer)
        marks = "".join(f"{record.score:.0f}" for record in records)
        whole = all(record.score in (0, 1) for record in records)
        del found["downsampling_filter"], found["by_group"]  # `derive` fills them in when all rows are known
        return found | {"settings": settings, "scores": marks if whole else [record.score for record in records]}


def keeps_its_budget(method: str) -> bool:
    """Whether a retention is what a run spends; of a cascade it is not: see `benchmarks.promise`."""
    return vc.REDUCERS[method]().unsure_below is None


def _about(cell: Measurement) -> dict[str, Any]:
    about = {"method": cell.name, "retention": cell.retention}
    return about if cell.group is None else about | {"group": cell.group, "variant": cell.variant}


def as_record(bench: Bench, rows: list[dict[str, Any]], references: dict[str, Any], command: str) -> dict[str, Any]:
    """The file's content, as `derive` completes it; numbers rounded to four places.

    references: Rows that the others are compared with: "dense" and "floor", and for ablations a list, "downsample".
    """
    dense = references["dense"]
    found = {
        **model_provenance(bench.lvlm, command),
        "task": bench.task.name,
        "metric": bench.task.metric,
        "seed": bench.task.seed,
        "n": len(bench.items),
        "pictures": dense["pictures"],
        "intervals": "95 %, BCa bootstrap over pictures; p_value: paired sign flips over pictures against dense",
        **references,
        "majority": {
            "accuracy": dense["majority"],
            "by_type": {kind: part["majority"] for kind, part in dense["by_type"].items()},
        },
        "rows": rows,
    }
    return derive(found, bench.task, bench.items)


def model_provenance(lvlm: vc.LVLM, command: str) -> dict[str, Any]:
    """What a record says about where its figures come from, the model included."""
    dtype = str(lvlm.model.dtype).removeprefix("torch.")
    about = {"model": lvlm.name, "weights_sha256": weights(lvlm), "dtype": dtype}
    return about | provenance(command, lvlm.device)


def record_with(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The old record with the rows of the new one, instead of its own. Raises InputError if they do not compare."""
    for name in ("model", "weights_sha256", "dtype", "task", "seed", "n"):
        if old[name] != new[name]:
            raise vc.InputError(f"the record there has another {name} ({old[name]}, not {new[name]}); leave out --add")
    if old["dense"]["scores"] != new["dense"]["scores"]:
        raise vc.InputError("the dense model answers otherwise than in the record there; measure all of it again")
    measured = {name: new[name] for name in ("command", "commit", "date", "hardware", "versions")}
    fresh = {(row["method"], row["retention"]): row | {"measured": measured} for row in new["rows"]}
    kept = {(row["method"], row["retention"]): row for row in old["rows"]}
    return old | {"rows": list((kept | fresh).values())}


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 if the record is written (with --part: if the part is done), 1 if time ran out first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--task", default="world")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--limit", type=int, default=300, help="questions per cell")
    parser.add_argument("--methods", default=",".join(name for name in vc.REDUCERS if keeps_its_budget(name)))
    parser.add_argument("--ablations", nargs="+", type=share_of, metavar="R", help="VScan's, at these retentions")
    parser.add_argument("--add", action="store_true", help="keep the rows of other methods in the record")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), metavar="M", help="begin no further retention after M minutes"
    )
    parser.add_argument(
        "--part", default="1/1", metavar="I/N", help="only every N-th cell, starting with the I-th; no record"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    disable_progress_bar()
    started, command = time.monotonic(), " ".join(["python -m benchmarks.accuracy", *(argv or sys.argv[1:])])
    lvlm = vc.load_model(options.model)
    task = task_named(options.task, options.data, options.seed)
    bench = Bench(lvlm, task, task.chosen(options.limit))
    name, cells = "accuracy", grid(options.methods.split(","), GRID_RETENTIONS)
    references, smaller = dict(COMPARED_WITH), list[Measurement]()
    if options.ablations:
        name = "ablations"
        cells = [cell for share in options.ablations for cell in ablations(share, lvlm.anatomy)]
        smaller = grid([FILTERING_METHOD], options.ablations)
    part, part_count = map(int, options.part.split("/"))
    cells = [*references.values(), *smaller, *cells]
    mine = cells[part - 1 :: part_count]
    for number, (_, some) in enumerate(groupby(mine, key=lambda cell: cell.retention)):
        if time.monotonic() - started > 60 * options.minutes:
            print(f"time is up after {number} retentions; the same command resumes from here")
            return 1
        before = time.process_time()
        bench.answer(group := list(some))
        print(f"{len(group)} cells, {time.process_time() - before:.0f} CPU s", flush=True)
    if part_count == 1:
        path = options.out or RECORDED / f"{name}_{options.model.replace('/', '_')}.json"
        compared: dict[str, Any] = {role: bench.rows([cell])[0] for role, cell in references.items()}
        if smaller:
            compared["downsample"] = bench.rows(smaller)
        found = as_record(bench, bench.rows(cells[len(references) + len(smaller) :]), compared, command)
        if options.add:
            found = derive(record_with(json.loads(path.read_text()), found), task, bench.items)
        write_record(found, path)
        print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
