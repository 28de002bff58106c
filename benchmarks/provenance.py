"""The file that a record becomes; where its figures come from says `vscan_core.bench.record.provenance`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CAUSAL_FLOPS = "causal attention, 2 n (n + 1) D per layer"  # how `vscan_core.measure` counts


def write_record(record: dict[str, Any], path: Path | None) -> None:
    """Write a record as JSON; None: nowhere."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")
