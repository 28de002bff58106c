"""docs/evaluation.md says what the code does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from vscan_core.cli import main as cli
from vscan_eval.tasks import TASKS
from vscan_eval.tasks.textvqa import OCR

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
COMMANDS = re.findall(r"^python -m vscan_core (.+)$", PAGE, flags=re.MULTILINE)
ROWS = re.findall(r"^\| `(\w+)` \| (.+?) \|", PAGE, flags=re.MULTILINE)


def test_every_benchmark_has_its_row_and_no_other() -> None:
    assert [name for name, _ in ROWS] == [name for name in TASKS if not name.startswith("world")]
    assert OCR in dict(ROWS)["textvqa"]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_understood(command) -> None:
    options = cli.parser().parse_args(shlex.split(command))
    assert options.task in TASKS and options.retention == 0.111
