"""Two tiers: `make test` runs every test, `make quick` those of files that take less than SLOW_S in all.

The times are measured, not estimated: `make durations` runs everything in one process and writes durations.json. A file
that is not in it is quick.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

SLOW_S = 5.0
RECORD = Path(__file__).parent / "durations.json"
TIMES: dict[str, float] = json.loads(RECORD.read_text())
taken: Counter[str] = Counter()  # seconds by file, of this run


def is_slow(name: str) -> bool:
    """Whether a file, by its path in the repository, takes long."""
    return TIMES.get(name, 0.0) >= SLOW_S


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import slow files that will not run."""
    name = collection_path.relative_to(config.rootpath).as_posix()
    return True if config.option.markexpr == "not slow" and is_slow(name) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow files."""
    for item in items:
        if is_slow(item.nodeid.partition("::")[0]):
            item.add_marker(pytest.mark.slow)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up the time of every test, fixtures included."""
    taken[report.nodeid.partition("::")[0]] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the times if asked to: seconds by file, the slowest first."""
    if os.environ.get("RECORD_DURATIONS") and not hasattr(session.config, "workerinput"):
        slow = {name: round(seconds, 1) for name, seconds in taken.most_common() if seconds >= 1}
        RECORD.write_text(json.dumps(slow, indent=1) + "\n")
