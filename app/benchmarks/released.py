"""Whether the code that the authors of a method released runs: `assets/released_code.json`, one entry per method."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from vscan_core.resources import asset

STATUSES = ("runs", "partial", "does not parse", "none", "not run")
CODE_NOTE = (
    "Released code is that of the method's own authors, as far as this project read or ran it; who made this table may "
    'have used other code. "Runs": a model answered with it. "Partial": a part ran, or a part is missing or fails. '
    '"None": nothing is released. "Not run": it was not tried. What was found is in the documentation, under Methods.'
)


@dataclass(frozen=True)
class ReleasedCode:
    """What is known of one method's released code."""

    status: str  # one of STATUSES
    where: str  # repository and commit; "" if there is none or it was not read
    found: str  # what was run or read, in a sentence

    @property
    def told(self) -> str:
        """Status, sentence and place."""
        return f"{self.status}: {self.found}" + (f" ({self.where})." if self.where else ".")


@cache
def released_code() -> dict[str, ReleasedCode]:
    """{title of a method: its released code}."""
    data = json.loads(asset("released_code.json").read_text(encoding="utf-8"))
    return {title: ReleasedCode(**entry) for title, entry in data.items()}


def release_of(row: str) -> ReleasedCode | None:
    """That of the method in a row of a table; what follows a comma is a setting. None: it is no known method."""
    return released_code().get(row.partition(",")[0].removesuffix("+"))  # PruMerge+ is PruMerge with more tokens
