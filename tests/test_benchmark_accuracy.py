"""The accuracy benchmark: cells are recorded or refused, it goes on where it stopped, records can be made again."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest

import vscan_core as vc
from benchmarks import accuracy
from vscan_eval import runner
from vscan_eval.records import weights
from vscan_eval.replies import Condition
from vscan_eval.tasks import TASKS

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "assets" / "recorded").glob("accuracy_*.json"))
SLICE = 20


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(runner, "ANSWERS_FOLDER", tmp_path / "runs")
    monkeypatch.setattr(accuracy, "GRID_RETENTIONS", (0.5, 1 / 9))


def run(tmp_path, *more: str) -> int:
    seed = ("--seed", "50000", "--limit", "4", "--methods", "vscan,random,fastv")
    return accuracy.main([*seed, "--out", str(tmp_path / "record.json"), *more])


def test_records_every_cell_or_its_refusal(tmp_path, capsys) -> None:
    assert run(tmp_path, "--minutes", "0") == 1 and "resumes from here" in capsys.readouterr().out
    assert run(tmp_path, "--part", "1/2") == run(tmp_path, "--part", "2/2") == 0
    assert not (tmp_path / "record.json").exists()
    stored = {path: path.read_text() for path in (tmp_path / "runs").iterdir()}
    assert run(tmp_path) == 0
    assert stored == {path: path.read_text() for path in (tmp_path / "runs").iterdir()}, "nothing is asked twice"
    found = json.loads((tmp_path / "record.json").read_text())
    assert (found["model"], found["task"], found["seed"], found["n"]) == ("mini", "world", 50000, 4)
    assert all(found[name] for name in ("weights_sha256", "hardware", "versions", "commit", "date", "command"))
    rows = {(row["method"], row["retention"]): row for row in found["rows"]}
    assert set(rows) == {(name, share) for name in ("vscan", "random", "fastv") for share in (0.5, 0.1111)}
    assert "out of reach" in rows["fastv", 0.1111]["refused"] and "accuracy" not in rows["fastv", 0.1111]
    few = rows["vscan", 0.1111]
    assert few["kept_tokens_mean"] == pytest.approx(64, abs=1) and few["settings"]["local_share"] == 0.5
    assert (
        few["scores"].count("1") / 4
        == few["accuracy"]
        == sum(p["accuracy"] * p["n"] for p in few["by_type"].values()) / 4
    )
    assert found["dense"]["kept_tokens_mean"] == 576 and found["floor"]["kept_tokens_mean"] == 0
    assert set(found["majority"]["by_type"]) == set(few["by_type"])


def test_ablations_change_one_thing_at_a_time() -> None:
    cells = accuracy.ablations(1 / 9, vc.load_model("mini").anatomy)
    assert len({(cell.group, cell.variant) for cell in cells}) == len(cells)
    own = vc.VScan(1 / 9)
    changed = [
        [name for name in vars(own) if getattr(cell.make().reducer, name) != getattr(own, name)] for cell in cells
    ]
    assert max(map(len, changed)) <= 2 and sum(len(names) == 2 for names in changed) == 1  # the single cut needs two
    assert {name for names in changed for name in names} == {
        *("prune_layer", "local_layer", "local_share", "merge", "positions", "encoder_keep", "llm_keep")
    }


@pytest.mark.skipif(not FILES, reason="no record of accuracy in this checkout")
def test_a_slice_of_the_record_can_be_made_again(tmp_path) -> None:
    """If this fails after new weights or another world, measure again: python -m benchmarks.accuracy."""
    found = json.loads(FILES[0].read_text())
    lvlm, task = vc.load_model(found["model"]), TASKS[found["task"]](seed=found["seed"])
    assert found["weights_sha256"] == weights(lvlm)
    items = list(islice(task.chosen(found["n"]), SLICE))
    row = next(row for row in found["rows"] if row["method"] == "vscan" and round(row["retention"], 3) == 0.111)
    for recorded, method in ((found["dense"], Condition("baseline")), (row, Condition.named("vscan", 1 / 9))):
        records = runner.run_task(lvlm, task, items, method, tmp_path / f"{method.name}.jsonl")
        made = "".join(f"{record.score:.0f}" for record in records)
        differing = sum(one != other for one, other in zip(made, recorded["scores"], strict=False))
        assert differing <= 1, f"{method.name}: {made}, recorded {recorded['scores'][:SLICE]}"
