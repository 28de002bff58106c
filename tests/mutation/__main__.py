"""Mutation testing: change one thing in the engine, the budgets or a reducer, and see whether a test fails.

`make mutants` runs a fixed sample of mutants of every file and writes `docs/mutation.md`. Each mutant lives in a
process of its own, forked after torch and transformers are imported, and replaces its module at import: no file is
written. Messages of errors, asserts and annotations are not mutated.

Not cosmic-ray: it changes the files on disk, starts a process that imports torch for every mutant, has no sample by
file, and neither removes a guard or a statement nor moves the bound of a slice.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import importlib.util
import io
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from types import CodeType, FrameType

from tests.mutation.operators import ROOT, Mutant, all_mutants, sample
from tests.tiers import TIMES

SOURCES = ("vscan_core/budget.py", "vscan_core/reducers/*.py", "vscan_core/engine/*.py")
REPORT = ROOT / "docs/mutation.md"

FOLDER_S = 12.0  # files of a folder that take longer only examine the sources that name them
METHODS = ["tests/reducers", "tests/test_budget.py", "tests/test_parity_peers.py", "tests/test_parity_vscan.py"]
ENGINE = ["tests/engine", "tests/families/test_every_method.py"]
EXAMINED_BY = {  # start of a source's path -> the files and folders of tests that examine it; the longest counts
    "vscan_core/budget.py": METHODS,
    "vscan_core/reducers/": [*METHODS, "tests/engine/test_reduced_peers.py"],
    "vscan_core/reducers/table.py": ["tests/test_other_packages.py"],
    "vscan_core/engine/": ENGINE,
    "vscan_core/engine/encoder_merge.py": [*ENGINE, *METHODS],
    "vscan_core/engine/preview.py": [*ENGINE, "tests/families/test_preview.py"],
    "vscan_core/engine/rope_deltas.py": [*ENGINE, "tests/families"],
    "vscan_core/engine/vision_side.py": [*ENGINE, "tests/families"],
    "vscan_core/engine/llm_side.py": [*ENGINE, "tests/families/test_families.py"],
}
REASONS = {  # mutant that survives -> why no test can or need tell it from the original
    "vscan_core/reducers/greedyprune.py: `-1` -> `1`": "The last axis of (tokens, dim) is axis 1: the same.",
    "vscan_core/engine/generate_hook.py: `-1` -> `1`": "The last axis of ids (batch, length) is axis 1: the same.",
    "vscan_core/engine/generate_hook.py: `length > past` -> `length >= past`": (
        "A prompt as long as its cache brings nothing new, which transformers refuses before."
    ),
    "vscan_core/engine/llm_side.py: `_[:4]` -> `_[:4 + 1]`": "A dropped row is -inf in every column.",
    "vscan_core/engine/llm_cut.py: `cut is not None and any((_budget(span, cut) is not None for span in call.spans))` "
    "-> `cut is not None or any((_budget(span, cut) is not None for span in call.spans))`": (
        "Only computes scores that nobody reads."
    ),
}


@dataclass(frozen=True)
class Outcome:
    """Whether the tests noticed."""

    mutant: Mutant
    killed: bool
    seconds: float


class Changed(importlib.machinery.SourceFileLoader):
    """Loads a module from a changed tree."""

    code: CodeType

    def get_code(self, fullname: str) -> CodeType:
        """The mutant instead of the file, and no bytecode cache."""
        return self.code


def install(mutant: Mutant) -> None:
    """From now on, the import of the mutant's module gives the mutant."""
    path = ROOT / mutant.source
    module = mutant.source.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    loader = Changed(module, str(path))
    loader.code = next(compile(tree, str(path), "exec") for one, tree in all_mutants(mutant.source) if one == mutant)
    spec = importlib.util.spec_from_file_location(module, path, loader=loader)

    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> object:
            return spec if name == module else None

    sys.meta_path.insert(0, Finder)  # type: ignore[arg-type]


def examined_by(source: str) -> tuple[str, ...]:
    """The test files of a source file, the quickest first."""
    found = set()
    for path in EXAMINED_BY[max((start for start in EXAMINED_BY if source.startswith(start)), key=len)]:
        inside = (file.relative_to(ROOT).as_posix() for file in (ROOT / path).glob("test_*.py"))
        found |= {path} if path.endswith(".py") else {file for file in inside if TIMES.get(file, 0) <= FOLDER_S}
    return tuple(sorted(found, key=lambda file: (TIMES.get(file, 0), file)))


def give_up(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt("the mutant ran too long")


def tests_fail(tests: tuple[str, ...], mutant: Mutant | None = None, limit_s: float = 600) -> tuple[bool, float]:
    """Run the files one by one, on a mutant if there is one: whether a test failed, and after how many seconds.

    Only for a process that does nothing else. A test that runs longer than `limit_s` has failed.
    """
    import pytest

    # forked by a daemon thread of the pool, whose children would be daemons as well, unlike those of a test run
    vars(threading.current_thread())["_daemonic"] = False
    start, quiet = time.perf_counter(), io.StringIO()
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(math.ceil(limit_s))
    if mutant is not None:
        install(mutant)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov", "--rootdir", str(ROOT)]
    with redirect_stdout(quiet), redirect_stderr(quiet):
        failed = any(pytest.main([*options, file]) != pytest.ExitCode.OK for file in tests)
    if failed and mutant is None:  # nothing can be concluded then, so say why
        print(quiet.getvalue()[-3000:], file=sys.stderr)
    return failed, time.perf_counter() - start


def attempt(work: tuple[Mutant, tuple[str, ...], float]) -> Outcome:
    """One mutant, its tests and their limit in seconds."""
    mutant, tests, limit_s = work
    return Outcome(mutant, *tests_fail(tests, mutant, limit_s))


def modules_of_others() -> list[str]:
    """What the tests import beside the library and themselves."""
    code = "import sys, pytest, tests.conftest, tests.families.lvlms; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return [name for name in done.stdout.split() if name.partition(".")[0] not in ("vscan_core", "tests", "__main__")]


def run(mutants: list[Mutant], jobs: int, done: Callable[[Outcome], None]) -> list[Outcome]:
    """Every mutant in a fresh fork of this process, which has imported what is slow to import and never changes."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in modules_of_others():
        with suppress(ImportError):
            importlib.import_module(name)
    outcomes, suites = [], list(dict.fromkeys(examined_by(mutant.source) for mutant in mutants))
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        limits = {}
        for tests, (failed, seconds) in zip(suites, pool.imap(tests_fail, suites, chunksize=1), strict=True):
            if failed:
                sys.exit(f"without any mutant, a test of these fails: {' '.join(tests)}")
            limits[tests] = 30 + 3 * seconds
        work = [(mutant, tests := examined_by(mutant.source), limits[tests]) for mutant in mutants]
        for outcome in pool.imap_unordered(attempt, work, chunksize=1):
            done(outcome)
            outcomes.append(outcome)
    return sorted(outcomes, key=lambda outcome: (outcome.mutant.source, outcome.mutant.number))


def report(outcomes: list[Outcome]) -> str:
    """The page: the figure, a row per file, and every survivor with its reason."""
    killed = sum(outcome.killed for outcome in outcomes)
    lines = [
        "# Mutation testing",
        "",
        "Written by `make mutants`, which changes one thing at a time (a comparison, a sign, a constant, a guard, a",
        "bound of a slice, a returned value, a statement) in a fixed sample of places and runs the tests of that file.",
        "",
        f"**{killed} of {len(outcomes)} mutants are killed ({killed / len(outcomes):.0%}).**",
        "",
        "| file | mutants | killed |",
        "|---|--:|--:|",
    ]
    for source in dict.fromkeys(outcome.mutant.source for outcome in outcomes):
        mine = [outcome.killed for outcome in outcomes if outcome.mutant.source == source]
        lines.append(f"| `{source}` | {len(mine)} | {sum(mine)} |")
    lines += ["", "## Survivors", ""]
    for outcome in outcomes:
        if not outcome.killed:
            lines.append(f"- {outcome.mutant.title}. {REASONS.get(outcome.mutant.title, 'No reason is known: a gap.')}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line: `python -m tests.mutation [--per-file 3] [--jobs 2] [source ...]`; a page for all sources only."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-file", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("sources", nargs="*")
    arguments = parser.parse_args()
    everything = [str(path.relative_to(ROOT)) for pattern in SOURCES for path in sorted(ROOT.glob(pattern))]
    mutants = [mutant for source in arguments.sources or everything for mutant in sample(source, arguments.per_file)]

    def show(outcome: Outcome) -> None:
        fate = "killed  " if outcome.killed else "SURVIVED"
        print(f"{fate} {outcome.seconds:5.1f} s  line {outcome.mutant.line}: {outcome.mutant.title}", flush=True)

    outcomes = run(mutants, arguments.jobs, show)
    killed = sum(outcome.killed for outcome in outcomes)
    print(f"{killed} of {len(outcomes)} killed")
    if not arguments.sources:
        REPORT.write_text(report(outcomes))
    sys.exit(killed < 0.85 * len(outcomes))


if __name__ == "__main__":
    main()
