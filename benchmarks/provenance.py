"""Where the figures of a record come from, and the file that it becomes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import numpy
import scipy
import torch
import transformers

LIBRARIES = (torch, transformers, numpy, scipy)
CAUSAL_FLOPS = "causal attention, 2 n (n + 1) D per layer"  # how `vscan_core.measure` counts; older records: n^2


def provenance(command: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What every record says beside its figures; threads are those of this process."""
    on_cpu = torch.device(device).type == "cpu"
    processor = f"CPU {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads in use"
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {
        "command": command,
        "commit": commit or "unknown",
        "date": date.today().isoformat(),
        "hardware": processor if on_cpu else torch.cuda.get_device_name(device),
        "versions": {library.__name__: library.__version__ for library in LIBRARIES},
    }


def write_record(record: dict[str, Any], path: Path | None) -> None:
    """Write a record as JSON; None: nowhere."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")
