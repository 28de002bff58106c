"""The benchmark of the choosing itself: its meters measure, and no method costs more than it may."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch

import vscan_core as vc
from benchmarks import selection
from vscan_core.bench.memory import Tally
from vscan_core.resources import asset

ROOT = Path(__file__).parent.parent / "benchmarks"
SMALL = {"vision": 64, "projected": 48, "joint": 24, "heads": 4}


def test_runs_on_a_small_picture_and_writes_its_record(tmp_path, monkeypatch, capsys) -> None:
    real = selection.measure_all
    monkeypatch.setattr(selection, "measure_all", lambda grids, repeats: real({36: (6, 6)}, repeats, SMALL))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    selection.main(["--repeats", "2", "--out", str(tmp_path / "record.json")])
    record = json.loads((tmp_path / "record.json").read_text())
    rows = record["rows"]
    assert record["flops"].startswith("causal")
    names = {row["method"] for row in rows}
    assert {"vscan", "divprune", "cdpruner", "random"} <= names and not names & {"fastv", "pyramiddrop", "sparsevlm"}
    assert all(row["ms"]["min"] <= row["ms"]["median"] <= row["ms"]["max"] for row in rows)
    printed = capsys.readouterr().out
    assert all(f"| `{name}` | 36 |" in printed for name in names)


@torch.no_grad()
def test_no_method_costs_a_twentieth_of_the_prefill_it_shortens() -> None:
    for row in selection.measure_all(selection.PICTURE_GRIDS, repeats=1):
        assert row["share_of_dense_flops"] < 0.05 and row["share_of_dense_bytes"] < 0.05, row


def test_the_tally_counts_what_is_moved_and_held() -> None:
    first, second = torch.ones(1000), torch.ones(1000)
    with Tally() as tally:
        total = first + second  # reads 8000 bytes, writes 4000
        picked = total[torch.tensor([1, 2])]
        del total
        more = first * 2
    assert len(more) == 1000 and len(picked) == 2
    assert tally.peak == 4000 + 8  # `more` came when `total` was gone
    assert 12000 + 8000 <= tally.moved <= 12000 + 8000 + 100


def test_dense_figures_are_those_of_the_7b_decoder() -> None:
    weights = selection.dense_bytes(0)
    assert weights == 2 * 32 * (4 * 4096**2 + 3 * 4096 * 11008)  # half precision, 12.95 GB
    assert selection.dense_bytes(2880) > 2 * weights


def filled(text: str) -> str:
    """The README with the table of the record: `python -m tests.test_benchmark_selection` writes it."""
    record = json.loads((asset("recorded") / "selection-cpu.json").read_text())
    load = f"load {record['load_before']} before the start"
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    about = f"`{record['command']}`, {record['date']}, {record['hardware']} ({load}), {versions}:"
    block = f"<!-- selection -->\n{about}\n\n{selection.selection_table(record['rows'])}\n<!-- /selection -->"
    return re.sub("<!-- selection -->.*<!-- /selection -->", lambda _: block, text, flags=re.DOTALL)


def test_the_readme_shows_the_record_and_the_record_every_method() -> None:
    text = (ROOT / "README.md").read_text()
    assert filled(text) == text
    text = text.partition("<!-- selection -->")[2].partition("<!-- /selection -->")[0]
    for name in filter(selection.cuts_at_the_entrance, vc.REDUCERS):
        assert text.count(f"| `{name}` |") == 2, f"{name}: run benchmarks.selection again"


if __name__ == "__main__":
    (ROOT / "README.md").write_text(filled((ROOT / "README.md").read_text()))
