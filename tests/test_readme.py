"""The README's tables are those of the code: `python -m tests.test_readme` writes them."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from vscan_core.catalog import MODELS, SMALL
from vscan_core.families import FAMILIES
from vscan_core.reducers import REDUCERS

TYPES = (torch.bfloat16, torch.float32)
README = Path(__file__).parent.parent / "README.md"


def methods() -> str:
    """One row per method."""
    rows = [f"| `{name}` | {cls.summary} |" for name, cls in REDUCERS.own.items()]
    return "\n".join(["| name | what it does |", "|---|---|", *rows])


def models() -> str:
    """One row per model with weights of its own; the random ones stand beside the real ones."""
    cells = (
        (f"`{card.name}`", *(f"{card.weights_gb(kind):.3g} GB" for kind in TYPES), card.licence, f"`{card.dummy}`")
        for card in MODELS.values()
        if not card.random
    )
    head = ["| name | weights in bfloat16 | in float32 | licence | random weights |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in cells)])


def small() -> str:
    """The scaled-down models with random weights."""
    return ", ".join(f"`{name}`" for name in SMALL)


def families() -> str:
    """One row per family: its config's model_type, and whether it takes videos."""
    rows = [f"| {family.title} | `{name}` | {'yes' if family.frames else ''} |" for name, family in FAMILIES.items()]
    return "\n".join(["| family | `model_type` | videos |", "|---|---|---|", *rows])


def filled(text: str) -> str:
    """The README with its tables written again."""
    tables = {"methods": methods(), "models": models(), "small": small(), "families": families()}
    for name, table in tables.items():
        block = f"<!-- {name} -->\n{table}\n<!-- /{name} -->"
        text = re.sub(f"<!-- {name} -->.*<!-- /{name} -->", lambda _, block=block: block, text, flags=re.DOTALL)
    return text


def test_tables_are_those_of_the_code() -> None:
    text = README.read_text()
    assert filled(text) == text
    assert all(f"`{name}`" in text for name in [*REDUCERS.own, *MODELS])


def test_every_linked_file_exists() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (README.parent / "Makefile").read_text()
    for command in re.findall(r"^make (\w+)$", README.read_text(), flags=re.MULTILINE):
        assert re.search(f"^{command}:", makefile, flags=re.MULTILINE)


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
