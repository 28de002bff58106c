"""`vscan models`: the catalog, and what of it cannot run on this machine."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from vscan_core.catalog import MODELS, unavailable
from vscan_core.cli.shared import add_command, print_result


def add(commands: Any) -> None:
    """Add `models` to the command line."""
    add_command(commands, "models", list_models, "list the models")


def list_models(options: argparse.Namespace) -> None:
    """Print a line per model."""
    found = [{**asdict(card), "unavailable": unavailable(card.name)} for card in MODELS.values()]
    text = [f"{card['name']:28} {card['unavailable'] or card['description']}" for card in found]
    print_result(options, found, "\n".join(text))
