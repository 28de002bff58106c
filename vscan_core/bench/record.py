"""Where figures come from, and the file that they go to: one JSON object per line, each complete in itself."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy
import scipy
import torch
import transformers

from vscan_core.errors import InputError
from vscan_core.machine import cpu_name

LIBRARIES = (torch, transformers, numpy, scipy)
ROUNDED = 4  # significant digits


def provenance(command: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What every record says beside its figures; threads are those of this process."""
    on_cpu = torch.device(device).type == "cpu"
    processor = f"CPU {cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads in use"
    return {
        "command": command,
        "commit": _commit(),
        "date": date.today().isoformat(),
        "hardware": processor if on_cpu else torch.cuda.get_device_name(device),
        "versions": {library.__name__: library.__version__ for library in LIBRARIES},
    }


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # installed without git, or not from a checkout
        return "unknown"


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and number of values, rounded to four digits. [1, 2, 3] -> 2, 1.5 to 2.5, of 3."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return {"median": significant(middle), "q1": significant(low), "q3": significant(high), "n": len(values)}


def significant(value: float) -> float:
    """Rounded to four significant digits; whole numbers stay as they are."""
    return value if isinstance(value, int) else float(f"{value:.{ROUNDED}g}")


class Record:
    """A file that gets one line per row, at once, so that an interrupted run keeps what it has measured."""

    def __init__(self, path: Path | None, facts: Mapping[str, Any], show: Callable[[Mapping[str, Any]], None]) -> None:
        """Args: the file (None: none), appended to if it exists; `facts` of every row; `show` gets each row."""
        self.path, self.facts, self.show = path, dict(facts), show
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.open("a").close()
            except OSError as error:
                raise InputError(f"The record cannot be written to {path}: {error}.") from None

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a row and flush it to the disk."""
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps({**row, **self.facts}) + "\n")
                file.flush()
                os.fsync(file.fileno())
        self.show(row)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a record; a last line that was cut off is left out. Raises InputError if there is no record."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The record {path} cannot be read: {error}.") from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise InputError(f"{path} is no record of `vscan bench`: line {number} is not JSON.") from None
    return rows
