"""Rows of published tables as presets of the Arena: "VisionZip 64" is VisionZip at the budget that keeps 64 of 576."""

from __future__ import annotations

import json
from collections.abc import Mapping

from vscan_core.reducers.base import Reducer
from vscan_core.resources import asset

ROWS_OF = "llava-1.5-7b.json"  # the model that all papers report; mini has its 576 visual tokens
TOKENS = 576


def presets(methods: Mapping[str, type[Reducer]]) -> dict[str, tuple[str, float]]:
    """{row: (method, retention in percent)} for methods on offer, the largest budget first."""
    names = {method.title: name for name, method in methods.items()}
    tables = json.loads(asset("reported", ROWS_OF).read_text(encoding="utf-8"))["tables"]
    rows = {
        (group["retention"], names[title])
        for table in tables
        for group in table["groups"]
        for title in group["rows"]
        if group["retention"] and title in names
    }
    budgets = {(round(retention * TOKENS), name) for retention, name in rows}
    order = sorted(budgets, key=lambda row: (-row[0], list(methods).index(row[1])))
    return {f"{methods[name].title} {kept}": (name, round(100 * kept / TOKENS, 1)) for kept, name in order}
