"""`vscan models`: the catalog, what of it cannot run on this machine, and how long the rest would take."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

import torch

from vscan_core.catalog import MODELS, ModelCard, default_dtype, expected, first_token_s, type_name, unavailable
from vscan_core.cli.shared import add_command, print_result


def add(commands: Any) -> None:
    """Add `models` to the command line."""
    add_command(commands, "models", list_models, "list the models")


def list_models(options: argparse.Namespace) -> None:
    """Print a line per model; those that fit on a CPU say how long the first word takes, estimated."""
    found = [_entry(card) for card in MODELS.values()]
    text = [f"{card['name']:28} {card['unavailable'] or _about(card)}" for card in found]
    print_result(options, found, "\n".join(text))


def _entry(card: ModelCard) -> dict[str, Any]:
    """A card as JSON types, with its type, memory and time here; times are estimates, and only of a CPU."""
    device_type, reason = "cuda" if torch.cuda.is_available() else "cpu", unavailable(card.name)
    dtype = default_dtype(card.name, device_type)
    timed = device_type == "cpu" and reason is None
    return {
        **asdict(card),
        "dtype": type_name(dtype),
        "memory_gb": round(card.weights_gb(dtype), 2),
        "needed_gb": round(card.needed_gb(dtype), 2),
        "estimated_first_token_s": first_token_s(card.name, dtype) if timed else None,
        "unavailable": reason,
    }


def _about(card: dict[str, Any]) -> str:
    told = expected(card["name"])
    return f"{card['description']}. {told}" if told else card["description"]
