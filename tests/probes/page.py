"""`docs/reliability.md`: what was tried, and what came of it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.probes.probe import Probe

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "reliability.md"
TESTS = {
    "fault": REPOSITORY / "tests" / "app" / "test_faults.py",
    "any values": REPOSITORY / "tests" / "probes" / "test_any_values.py",
}  # tests whose names say what is tried
CROWD, SOAK = (REPOSITORY / "assets" / "recorded" / name for name in ("load-cpu.json", "soak-cpu.json"))
HELD, BROKEN = "held", "got through"
INTRODUCTION = """# Reliability

Written by `make reliability`; `make probes` fails if a probe gets through or an outcome has changed.

Every probe is sent to a demo of its own, started as for a public host (`VSCAN_PUBLIC`, `VSCAN_TRUSTED_HOSTS`) with the
embedded model. A probe **gets through** if the server contacts anybody (every connection and look-up of its process is
recorded), shows a file, a traceback or a page of the visitor's own, answers with a status of 500 or above, answers what
has to be refused, refuses without a sentence, logs without bound, takes more than 20 seconds, or grows by more than
500 MB meanwhile. **refused**: a 4xx status, a sentence, or a closed connection. **answered**: as any visitor would be,
and without harm. **held**: the next visitor was served in time. The probes are data, in `tests/probes/`.
"""


def page(outcomes: Mapping[tuple[str, str], str], tests: Mapping[tuple[str, str], str]) -> str:
    """The whole page."""
    through = sum(outcome == BROKEN for outcome in outcomes.values())
    summary = [f"\n**{through} of {len(outcomes)} probes get through.**\n", *_kinds(outcomes)]
    loads = ["\n## Load\n", *load_lines(CROWD, "crowd"), *load_lines(SOAK, "soak")]
    table = ["\n## Everything\n", "| what | probe, picture, fault or load | outcome |", "|---|---|---|"]
    rows = [(kind, name, outcome) for (kind, name), outcome in outcomes.items()]
    rows += [(kind, name, outcome) for (kind, name), outcome in tests.items()]
    rows += [("load", name, outcome) for name, outcome in load_rows()]
    table += [f"| {kind} | {cell(name)} | {outcome} |" for kind, name, outcome in rows]
    return INTRODUCTION + "\n".join([*summary, *loads, *table]) + "\n"


def cell(text: str) -> str:
    """Text for a cell of a Markdown table: as code, without what would end the cell or the code."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return f"`{plain.replace('|', '¦').replace('`', chr(39))}`"


def _kinds(outcomes: Mapping[tuple[str, str], str]) -> Iterable[str]:
    columns = ("refused", "answered", HELD, BROKEN)
    counts = Counter((kind, outcome) for (kind, _), outcome in outcomes.items())
    yield "| kind | probes | " + " | ".join(columns) + " |"
    yield "|---" + "|--:" * (len(columns) + 1) + "|"
    for kind in dict.fromkeys(kind for kind, _ in outcomes):
        numbers = [counts[kind, column] for column in columns]
        yield f"| {kind} | {sum(numbers)} | " + " | ".join(map(str, numbers)) + " |"


def recorded(path: Path) -> dict[str, Any] | None:
    """A record of `python -m benchmarks.load`, if there is one."""
    return json.loads(path.read_text()) if path.exists() else None


def load_rows() -> list[tuple[str, str]]:
    """(command, outcome) of the recorded loads."""
    found = [recorded(path) for path in (CROWD, SOAK)]
    return [(row["command"], HELD if not row["broken"] else " ".join(row["broken"])) for row in found if row]


def load_lines(path: Path, kind: str) -> Iterable[str]:
    """What a record says, in a few lines."""
    row = recorded(path)
    if row is None:
        return
    wait, health = row["wait_s"], row["healthz_ms"]
    yield f"`{row['command']}`, {row['date']}, {row['hardware']} (load {row['load_before']} before the start):\n"
    yield f"- {row['answered']} of {row['asked']} questions answered, {row['previews_refused']} of {row['previews']} "
    yield f"  previews refused, {row['problems']} other problems, {row['requests']} requests."
    yield f"- From Run to the first word: median {wait['median']:.1f} s, 95 % within {wait['p95']:.1f} s, at most "
    yield f"  {wait['max']:.1f} s."
    yield f"- /healthz: median {health['median']:.0f} ms, 95 % within {health['p95']:.0f} ms, at most "
    yield f"  {health['max']:.0f} ms."
    if kind == "soak":
        grown = row["growth_per_100_requests"]
        yield f"- In 100 requests, after the first third of the time: {grown['rss_mb']:+.2f} MB of memory, "
        yield f"  {grown['threads']:+.2f} threads, {grown['descriptors']:+.2f} descriptors, {grown['files']:+.2f} files"
        yield "  (lines of least squares through all samples)."
    yield ""


def named_tests() -> list[tuple[str, str]]:
    """(kind, name) of the tests that count, in the order of their files."""
    return [
        (kind, node.name)
        for kind, file in TESTS.items()
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def outcomes_of_tests() -> dict[tuple[str, str], str]:
    """Run those tests, each in turn: {(kind, title): outcome}."""
    found = {}
    for kind, name in named_tests():
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
        done = subprocess.run([*command, f"{TESTS[kind]}::{name}"], cwd=REPOSITORY, capture_output=True, check=False)
        found[kind, in_words(name)] = HELD if done.returncode == 0 else "failed"
    return found


def in_words(test: str) -> str:
    """test_a_full_disk -> "a full disk"."""
    return test.removeprefix("test_").replace("_", " ")


def listed(text: str) -> dict[tuple[str, str], str]:
    """{(kind, cell): outcome} of the last table of a page."""
    rows = [line.strip("| \n").split(" | ") for line in text.partition("## Everything")[2].splitlines()]
    return {(row[0], row[1]): row[2] for row in rows if len(row) == 3 and row[0] != "what"}


def key(probe: Probe) -> tuple[str, str]:
    """Kind and name."""
    return probe.kind, probe.name
