"""The benchmark of the choosing itself: its meters measure, and no method costs more than it may."""

from __future__ import annotations

import json

import torch

from benchmarks import selection

SMALL = {"vision": 64, "projected": 48, "joint": 24, "heads": 4}


def test_runs_on_a_small_picture_and_writes_its_record(tmp_path, monkeypatch, capsys) -> None:
    real = selection.measure_all
    monkeypatch.setattr(selection, "measure_all", lambda grids, repeats: real({36: (6, 6)}, repeats, SMALL))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    selection.main(["--repeats", "2", "--out", str(tmp_path / "record.json")])
    rows = json.loads((tmp_path / "record.json").read_text())["rows"]
    names = {row["method"] for row in rows}
    assert {"vscan", "divprune", "cdpruner", "random"} <= names and not names & {"fastv", "pyramiddrop", "sparsevlm"}
    assert all(row["ms"]["min"] <= row["ms"]["median"] <= row["ms"]["max"] for row in rows)
    printed = capsys.readouterr().out
    assert all(f"| `{name}` | 36 |" in printed for name in names)


@torch.no_grad()
def test_no_method_costs_a_twentieth_of_the_prefill_it_shortens() -> None:
    for row in selection.measure_all({576: (24, 24)}, repeats=1):
        assert row["share_of_dense_flops"] < 0.05 and row["share_of_dense_bytes"] < 0.05, row


def test_the_tally_counts_what_is_moved_and_held() -> None:
    first, second = torch.ones(1000), torch.ones(1000)
    with selection.Tally() as tally:
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
