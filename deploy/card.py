"""The card of a Space: the YAML at the top of README.md, what the Hub accepts in it, and how it is changed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

SHORT_DESCRIPTION = 60  # characters; the Hub refuses a push with a longer one
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
HARDWARE = {
    *("cpu-basic", "cpu-upgrade", "t4-small", "t4-medium", "l4x1", "l4x4", "a10g-small", "a10g-large", "a10g-largex2"),
    *("a10g-largex4", "a100-large", "v5e-1x1", "v5e-2x2", "v5e-2x4"),
}
CARD_KEYS: dict[str, type] = {
    **dict.fromkeys(("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version"), str),
    **dict.fromkeys(("app_file", "suggested_hardware", "startup_duration_timeout", "license"), str),
    **dict.fromkeys(("short_description", "thumbnail", "header", "base_path"), str),
    **dict.fromkeys(("models", "datasets", "tags", "preload_from_hub"), list),
    **dict.fromkeys(("pinned", "fullWidth", "disable_embedding"), bool),
    "app_port": int,
}
REQUIRED = ("title", "emoji", "colorFrom", "colorTo", "sdk", "license", "short_description")
OF_SDK = {"gradio": ("sdk_version", "python_version", "app_file"), "docker": ("app_port",)}


def split_card(readme: str) -> tuple[dict[str, Any], str]:
    """The card and what follows it. Raises ValueError if the text does not begin with one."""
    match = re.match(r"---\n(.*?\n)---\n", readme, re.DOTALL)
    if match is None:
        raise ValueError("README.md does not begin with a card between two lines of three hyphens.")
    card = yaml.safe_load(match[1])
    if not isinstance(card, dict):
        raise ValueError("The card at the top of README.md is not a list of keys and values.")
    return card, readme[match.end() :]


def joined_card(card: dict[str, Any], rest: str) -> str:
    """The text of a README.md again."""
    return f"---\n{yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=1000)}---\n{rest}"


def card_faults(card: dict[str, Any], folder: Path) -> list[str]:
    """What the Hub would refuse or ignore, one sentence each; `folder` holds the Space's files."""
    sdk = card.get("sdk")
    needed = (*REQUIRED, *OF_SDK.get(str(sdk), ()))
    found = [f"{name} is missing." for name in needed if name not in card]
    found += [f"{name} is no key that the Hub knows." for name in card if name not in CARD_KEYS]
    found += [
        f"{name} has to be a {CARD_KEYS[name].__name__}, not {value!r}."
        for name, value in card.items()
        if name in CARD_KEYS and not isinstance(value, CARD_KEYS[name])
    ]
    if sdk not in OF_SDK:
        found.append(f"sdk is {sdk!r}; choose gradio or docker.")
    if len(str(card.get("short_description", ""))) > SHORT_DESCRIPTION:
        found.append(f"short_description has more than {SHORT_DESCRIPTION} characters.")
    for name in ("colorFrom", "colorTo"):
        if card.get(name) not in COLOURS:
            found.append(f"{name} has to be one of {', '.join(sorted(COLOURS))}.")
    if (hardware := card.get("suggested_hardware")) not in {None, *HARDWARE}:
        found.append(f"suggested_hardware {hardware!r} is not one of {', '.join(sorted(HARDWARE))}.")
    if not str(card.get("thumbnail", "https://")).startswith("https://"):
        found.append("thumbnail has to be an address that begins with https://.")
    if sdk == "gradio" and not (folder / str(card.get("app_file"))).is_file():
        found.append(f"app_file {card.get('app_file')!r} is not among the files.")
    return found
