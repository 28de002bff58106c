"""Every reason why a test may be skipped, and why it is needed; a skip for any other reason fails the run."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

ALLOWED = {  # pattern of the reason -> (how many at most, why these tests cannot run, or not here)
    "[Tt]orchvision": (
        60,
        "no dependency of ours; without it, pictures and videos are prepared by code that is tested",
    ),
    "num2words": (40, "the processor of SmolVLM needs it; in the dev extra, not where only transformers is exchanged"),
    "lmms-eval is not installed": (16, "an extra with a hundred packages; its interface is tested against records"),
    "ray is not installed": (4, "an extra of its own; `make test-serve` runs these tests, and CI does"),
    "make ways": (1, "writes docs/ways.md instead of testing"),
    "vLLM is not installed": (6, "an engine with an environment of its own, 3.6 GB: `make test-vllm`, and a job of CI"),
    "make reliability": (5, "more than a thousand probes, which take minutes: `make probes` sends them"),
    "this machine has a GPU|may be installed here|kernels is installed here": (9, "refusals of machines without these"),
    "transformers before 5.23 mixes up the pictures": (40, "a fault of the oldest transformers in range"),
    "glibc alone": (2, "how the memory of other C libraries is shared and given back is theirs"),
    "no Chromium found": (80, "a program, not a package; in CI its absence is a failure"),
}


def unknown(reasons: Iterable[str]) -> list[str]:
    """The reasons that nobody allowed, in order and once each."""
    return [reason for reason in dict.fromkeys(reasons) if not any(re.search(known, reason) for known in ALLOWED)]


def counts(reasons: Iterable[str]) -> dict[str, int]:
    """How many tests were skipped for each allowed reason, by its pattern."""
    listed = list(reasons)
    return {known: sum(bool(re.search(known, reason)) for reason in listed) for known in ALLOWED}


def too_many(reasons: Iterable[str]) -> list[str]:
    """The allowed reasons for which more tests were skipped than allowed."""
    return [known for known, count in counts(reasons).items() if count > ALLOWED[known][0]]


def reasons_of(config: pytest.Config) -> list[str]:
    """Of every test that was skipped in this run; none in a worker, whose results go to the process that started it."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skipped = [] if reporter is None else reporter.stats.get("skipped", [])
    return [str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that would have passed."""
    reasons = reasons_of(session.config)
    if session.exitstatus == pytest.ExitCode.OK and (unknown(reasons) or too_many(reasons)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """How many tests were skipped for which reason."""
    reasons = reasons_of(config)
    for known, count in counts(reasons).items():
        if count:
            terminalreporter.write_line(f"{count} skipped ({known}): {ALLOWED[known][1]}")
    for known in too_many(reasons):
        terminalreporter.write_line(f"more skipped than tests/skips.py allows: {known}", red=True)
    for reason in unknown(reasons):
        count = reasons.count(reason)
        terminalreporter.write_line(f"{count} skipped, not allowed by tests/skips.py: {reason}", red=True)
