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
TIMES = Path(__file__).parent / "durations.json"
taken: Counter[str] = Counter()  # seconds by file, of this run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow files."""
    times = json.loads(TIMES.read_text())
    for item in items:
        if times.get(item.nodeid.partition("::")[0], 0) >= SLOW_S:
            item.add_marker(pytest.mark.slow)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up the time of every test, fixtures included."""
    taken[report.nodeid.partition("::")[0]] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the times if asked to: seconds by file, the slowest first."""
    if os.environ.get("RECORD_DURATIONS") and not hasattr(session.config, "workerinput"):
        slow = {name: round(seconds, 1) for name, seconds in taken.most_common() if seconds >= SLOW_S / 5}
        TIMES.write_text(json.dumps(slow, indent=1) + "\n")
