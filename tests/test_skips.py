"""A skip needs a reason that is known, in one process and in several."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.skips import too_many, unknown

pytest_plugins = "pytester"
CONFTEST = "from tests.skips import pytest_sessionfinish, pytest_terminal_summary"
TESTS = """
import pytest

def test_that_runs():
    assert True

def test_that_does_not():
    pytest.skip("%s")
"""


def test_known_reasons_are_told_from_others() -> None:
    assert unknown(["could not import 'torchvision'", "lmms-eval is not installed; see docs/evaluation.md"]) == []
    assert unknown(["no time", "needs a kernel", "no time"]) == ["no time", "needs a kernel"]


def test_skips_are_counted() -> None:
    assert too_many(["make ways"]) == [] and too_many(["make ways", "no time", "make ways"]) == ["make ways"]


@pytest.mark.parametrize(
    ("reason", "workers", "code", "line"),
    [
        ("could not import 'num2words'", 0, pytest.ExitCode.OK, "1 skipped (num2words): *"),
        ("too hard", 0, pytest.ExitCode.TESTS_FAILED, "1 skipped, not allowed by tests/skips.py: too hard"),
        ("too hard", 1, pytest.ExitCode.TESTS_FAILED, "1 skipped, not allowed by tests/skips.py: too hard"),
    ],
)
def test_a_run_with_an_unknown_reason_fails(pytester, monkeypatch, reason, workers, code, line) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TESTS % reason)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-n", str(workers))
    assert result.ret == code
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines([line])
