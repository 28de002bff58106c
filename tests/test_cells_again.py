"""Two recorded rows are measured again with the commands printed beside them; about two minutes on one core."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from vscan_core.cli.main import main
from vscan_eval import runner

FILES = sorted((Path(__file__).parent.parent / "assets" / "recorded").glob("accuracy_*.json"))
AGAIN = ("vscan", "grid")  # at the smallest retention, where most questions tell methods apart
GROUPS = ("difficult", "simple")


@pytest.mark.skipif(not FILES, reason="no record of accuracy in this checkout")
def test_recorded_cells_are_made_again_by_their_commands_within_their_intervals(capsys, tmp_path, monkeypatch) -> None:
    """If this fails after new weights or another world, measure again: python -m benchmarks.accuracy."""
    monkeypatch.setattr(runner, "ANSWERS_FOLDER", tmp_path)  # shared by both, so that references are answered once
    rows = json.loads(FILES[0].read_text())["rows"]
    smallest = min(row["retention"] for row in rows)
    for name in AGAIN:
        recorded = next(row for row in rows if row["method"] == name and row["retention"] == smallest)
        assert main([*shlex.split(recorded["command"])[1:], "--json"]) == 0
        made = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert made["n"] == recorded["n"] and made["command"] == recorded["command"]
        within(made, recorded)
        for group in GROUPS:
            within(made["downsampling_filter"][group], recorded["downsampling_filter"][group])


def within(made: dict[str, Any], recorded: dict[str, Any]) -> None:
    """The new accuracy is in the recorded interval, which must not be so wide that anything would be."""
    low, high = recorded["interval"]
    assert low <= made["accuracy"] <= high and high - low < 0.25
