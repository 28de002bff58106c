"""Records of the schema that the evaluation writes, with made-up numbers: for tests only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SHARES = (1.0, 0.5, 0.3333, 0.2222, 0.1111, 0.0556, 0.0278)  # the writer rounds to four places
STRENGTH = {"vscan": 0.10, "visionzip": 0.14, "divprune": 0.13, "fastv": 0.2, "prumerge": 0.16, "random": 0.24,
            "grid": 0.22, "downsample": 0.18}  # fmt: skip
FACTS = {
    "model": "mini", "weights_sha256": "0123456789abcdef" * 4, "task": "world", "metric": "exact match", "seed": 7,
    "n": 300, "pictures": 30, "hardware": "CPU x86_64, 2 threads",
    "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
    "commit": "feedface" * 5, "date": "2026-11-20", "command": "python -m benchmarks.accuracy --limit 300",
}  # fmt: skip


def score(value: float, n: int = 300, half: float = 0.03) -> dict[str, Any]:
    kinds = {"count": value - 0.05, "colour": value + 0.03}
    by_type = {kind: {"accuracy": a, "n": n // 2, "interval": [a - 0.05, a + 0.05]} for kind, a in kinds.items()}
    return {"accuracy": value, "n": n, "interval": [value - half, value + half], "by_type": by_type}


def accuracy() -> dict[str, Any]:
    """All methods; FastV does not reach the smallest budget."""
    rows: list[dict[str, Any]] = []
    for method, loss in STRENGTH.items():
        for share in SHARES:
            row: dict[str, Any] = {"method": method, "settings": {}, "retention": share}
            if method == "fastv" and share < 0.05:
                rows.append(row | {"refused": "FastV cannot keep less than 6.25 %."})
                continue
            value = 0.9 - loss * (1 - share) ** 3
            rows.append(
                row
                | score(value)
                | {"kept_tokens_mean": 576 * share, "relative": value / 0.9, "p_value": 0.01 if value < 0.8 else 0.4}
            )
    floor, majority = score(0.45), {"accuracy": 0.4, "by_type": {"count": 0.35, "colour": 0.42}}
    return FACTS | {"rows": rows, "dense": score(0.9), "floor": floor, "majority": majority}


def ablations() -> dict[str, Any]:
    """Two parts at two budgets."""
    rows = []
    for share, loss in ((0.3333, 0.0), (0.1111, 0.05)):
        variants = (("VScan as published", "all parts", 0.88), ("merging", "on", 0.88), ("merging", "off", 0.85),
                    ("layer of the second cut", "layer 2", 0.80))  # fmt: skip
        for group, variant, value in variants:
            row = {"method": "vscan", "settings": {}, "retention": share, "group": group, "variant": variant}
            rows.append(row | score(value - loss) | {"kept_tokens_mean": 576 * share, "relative": 0.9, "p_value": 0.03})
    return FACTS | {"rows": rows, "dense": score(0.9)}


def write(folder: Path) -> Path:
    """Both files in a folder."""
    (folder / "accuracy_mini.json").write_text(json.dumps(accuracy()))
    (folder / "ablations_mini.json").write_text(json.dumps(ablations()))
    return folder
