"""The record of a promise: what is chosen follows from its cases, and settings and findings from what is chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import promise
from vscan_core.reducers.cascade import Cascade

FINDINGS = (Path(__file__).parent.parent / "docs" / "findings.md").read_text()
PICTURES = [str(number // 2) for number in range(200)]


def case(tokens: int, changed: int, margins: list[float] | None = None) -> promise.Cases:
    """The first `changed` of 200 answers change."""
    return {"tokens": tokens, "changed": "1" * changed + "0" * (200 - changed), "margins": margins or []}


def test_the_smallest_margin_that_keeps_the_promise_is_found() -> None:
    unsure_first = [number / 100 for number in range(200)]
    part = {"pictures": PICTURES, "cases": {"first 1/18": case(32, 30, unsure_first), "one cut 1/9": case(64, 12)}}
    part["cases"]["two cuts 1/2"] = case(288, 9)
    chosen = promise.fewest_tokens(part, 576, "share")
    cascade = chosen["cascade"]
    assert cascade["margin"] == pytest.approx(0.191)  # twenty are read again, ten change
    assert cascade["calibration"]["changed"] == 0.05 and cascade["calibration"]["tokens"] == 32 + 576 * 20 / 200
    assert chosen["fixed"]["reading"] == "two cuts 1/2"
    careful = promise.fewest_tokens(part, 576, "interval")
    assert careful["cascade"]["margin"] > cascade["margin"] and careful["fixed"]["reading"] == "baseline"


def test_the_record_follows_from_its_cases_and_the_settings_from_the_record() -> None:
    record = json.loads(promise.RECORD.read_text())
    assert json.loads(json.dumps(promise.promise(record))) == record
    chosen = record["chosen"]["interval"]["cascade"]
    own = Cascade()
    assert (chosen["reading"], chosen["margin"]) == ("first 1/18", own.margin) and own.retention == 1 / 18
    assert chosen["held_out"]["changed"] <= record["promised"] and record["chosen"]["interval"]["fewer_tokens"] > 0.3
    assert set(record["calibration"]["pictures"]).isdisjoint(record["held_out"]["pictures"])


def test_the_findings_are_those_of_the_record() -> None:
    for rule in json.loads(promise.RECORD.read_text())["chosen"].values():
        for kind in ("cascade", "fixed"):
            chosen, held = rule[kind]["calibration"], rule[kind]["held_out"]
            low, high = (f"{100 * end:.1f}" for end in held["interval"])
            cells = [f"{100 * chosen['changed']:.1f} %", f"{100 * held['changed']:.1f} %", f"({low} to {high})"]
            lines = [line.replace("*", "") for line in FINDINGS.splitlines() if line.startswith("| ")]
            assert any(all(cell in line for cell in cells) for line in lines), (rule[kind]["reading"], cells)
