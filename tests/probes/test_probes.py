"""No probe gets through, and the page says what came of each: `make reliability` writes it anew."""

from __future__ import annotations

import os

import pytest

from tests.probes import page
from tests.probes.all_probes import all_probes
from tests.probes.crowding import KIND as CROWDING
from tests.probes.judge import fault, outcome
from tests.probes.next_visitor import still_served
from tests.probes.picture_probes import KIND as PICTURES
from tests.probes.sending import running_demo
from tests.probes.values import KIND as VALUES

WRITING = bool(os.environ.get("WRITE_RELIABILITY"))  # `make reliability`
CHECKING = bool(os.environ.get("CHECK_PROBES"))  # `make probes`
LEAST = 450
APART = (VALUES, PICTURES, CROWDING)  # each on a demo of its own; all others share one
OUTCOMES: dict[tuple[str, str], str] = {}


def test_there_are_enough_probes_and_each_has_a_name_of_its_own() -> None:
    names = [page.key(probe) for probe in all_probes()]
    assert len(set(names)) == len(names) >= LEAST
    assert len({page.cell(name) for _, name in names}) > 0.9 * len(names)


@pytest.mark.skipif(not (WRITING or CHECKING), reason="minutes of probes: `make probes`, `make reliability`")
@pytest.mark.parametrize("group", ["requests", *APART])
def test_no_probe_gets_through(group: str) -> None:
    probes = [probe for probe in all_probes() if (probe.kind if probe.kind in APART else "requests") == group]
    through, expected = {}, {} if WRITING else page.listed(page.PAGE.read_text())
    with running_demo() as sender:
        for probe in probes:
            found = sender.send(probe)
            OUTCOMES[page.key(probe)] = outcome(probe, found)
            if reason := fault(probe, found):
                through[page.key(probe)] = reason
        assert still_served(sender) is None
    assert through == {}
    if not WRITING:
        seen = {(probe.kind, page.cell(probe.name)): OUTCOMES[page.key(probe)] for probe in probes}
        assert seen == {row: expected.get(row) for row in seen}, "docs/reliability.md says otherwise: make reliability"


def test_the_page_is_written_when_asked() -> None:
    if not WRITING:
        pytest.skip("`make reliability` writes docs/reliability.md")
    tests = page.outcomes_of_tests()
    page.PAGE.write_text(page.page(OUTCOMES, tests))
    assert set(tests.values()) == {page.HELD}


def test_the_page_lists_these_probes_faults_and_loads_and_no_others() -> None:
    rows = page.listed(page.PAGE.read_text())
    names = {(probe.kind, page.cell(probe.name)) for probe in all_probes()}
    names |= {(kind, page.cell(page.in_words(name))) for kind, name in page.named_tests()}
    names |= {("load", page.cell(command)) for command, _ in page.load_rows()}
    assert set(rows) == names
