"""`vscan methods`: the names of all methods, and what they do."""

from __future__ import annotations

import argparse
from typing import Any

from vscan_core.cli.shared import add_command, print_result
from vscan_core.reducers import REDUCERS


def add(commands: Any) -> None:
    """Add `methods` to the command line."""
    add_command(commands, "methods", list_methods, "list the methods")


def list_methods(options: argparse.Namespace) -> None:
    """Print a line per method."""
    found = [{"name": name, "summary": cls.summary} for name, cls in REDUCERS.items()]
    print_result(options, found, "\n".join(f"{entry['name']:14} {entry['summary']}" for entry in found))
