"""The accuracy benchmark: cells are recorded or refused, it goes on where it stopped, records can be made again."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from PIL import Image

import vscan_core as vc
from benchmarks import accuracy, derived
from benchmarks.cells import ablations
from vscan_eval import runner
from vscan_eval.downsample_filter import FILTERING_METHOD
from vscan_eval.records import weights
from vscan_eval.replies import Condition
from vscan_eval.task import Item
from vscan_eval.tasks import TASKS

ROOT = Path(__file__).parent.parent
RECORDED = ROOT / "assets" / "recorded"
FILES = sorted(RECORDED.glob("accuracy_*.json"))
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


def test_methods_that_came_later_join_a_record(tmp_path) -> None:
    assert run(tmp_path) == 0
    before = json.loads((tmp_path / "record.json").read_text())
    assert run(tmp_path, "--methods", "downsample,random", "--add") == 0
    after = json.loads((tmp_path / "record.json").read_text())
    rows = {(row["method"], row["retention"]): row for row in after["rows"]}
    assert len(rows) == len(after["rows"]) == 8 and all(after[name] == before[name] for name in ("command", "date"))
    assert "--add" in rows["random", 0.5]["measured"]["command"] and "measured" not in rows["vscan", 0.5]
    assert rows["vscan", 0.1111]["downsampling_filter"] and not before["rows"][0]["downsampling_filter"]
    with pytest.raises(vc.InputError, match="another n"):
        run(tmp_path, "--methods", "grid", "--add", "--limit", "3")


def test_ablations_change_one_thing_at_a_time() -> None:
    cells = ablations(1 / 9, vc.load_model("mini").anatomy)
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


def test_a_record_says_what_a_smaller_picture_would_have_done(tmp_path) -> None:
    """Thirty questions about fifteen pictures, all right with all tokens; downsample fails the first twenty-four."""
    items = [
        Item(str(number), f"picture {number // 2}", Image.new("RGB", (1, 1)).copy, "Where is it?", ("left",), kind)
        for number, kind in enumerate(["where", "count", "side"] * 10)
    ]
    rows = [
        {"method": name, "retention": 0.1111, "settings": {"retention": 0.1111}, "scores": marks}
        for name, marks in (("grid", "1" * 18 + "0" * 6 + "101011"), ("downsample", "0" * 24 + "1" * 6))
    ]
    refused = {"method": "fastv", "retention": 0.1111, "refused": "It is out of reach."}
    elsewhere = rows[0] | {"retention": 0.5}
    dense = {"method": "baseline", "retention": None, "settings": {}, "scores": [1.0] * 30}
    record = {"model": "mini", "n": 30, "dense": dense, "rows": [*rows, refused, elsewhere]}
    found = derived.derive(record, TASKS["world"](), items)
    grid, smaller, out_of_reach, alone = found["rows"]
    filtered = grid["downsampling_filter"]
    assert (filtered["difficult"]["n"], filtered["difficult"]["accuracy"]) == (24, 0.75)
    assert filtered["simple"] == {
        **{"n": 6, "pictures": 3, "accuracy": None, "interval": None},
        "too_few": "6 of at least 20 questions, 3 of at least 10 pictures",
    }
    places = [float(mark) for item, mark in zip(items, rows[0]["scores"], strict=True) if item.kind != "count"]
    group = grid["by_group"]["location"]
    assert (group["n"], group["accuracy"]) == (20, sum(places) / 20) and group["interval"][0] < group["accuracy"]
    assert found["dense"]["by_group"]["location"]["accuracy"] == 1
    assert smaller["downsampling_filter"] is None and out_of_reach == refused and alone["downsampling_filter"] is None
    assert grid["command"] == "vscan eval --task world --model mini --limit 30 --method grid --retention 1/9"
    assert found["dense"]["command"].endswith("--method baseline")
    ablation = record | {"rows": rows[:1], "downsample": rows[1:2]}
    assert derived.derive(ablation, TASKS["world"](), items)["rows"][0]["downsampling_filter"] == filtered


@pytest.mark.parametrize("path", sorted(RECORDED.glob("a*_mini.json")), ids=lambda path: path.name)
def test_what_records_derive_from_their_scores_is_up_to_date(path, tmp_path) -> None:
    copy = tmp_path / path.name
    copy.write_text(path.read_text())
    assert derived.main([str(copy)]) == 0
    assert json.loads(copy.read_text()) == json.loads(path.read_text())
    measured = [row for row in json.loads(path.read_text())["rows"] if "refused" not in row]
    assert all(row["command"] for row in measured)
    for row in measured:
        places = [row["by_type"][kind] for kind in TASKS["world"].groups["location"]]
        right = sum(part["n"] * part["accuracy"] for part in places)
        assert row["by_group"]["location"]["n"] == sum(part["n"] for part in places)
        assert row["by_group"]["location"]["accuracy"] * row["by_group"]["location"]["n"] == pytest.approx(
            right, abs=0.1
        )
    assert all(row["downsampling_filter"] for row in measured if row["method"] != FILTERING_METHOD)


def test_a_record_of_other_questions_is_refused(tmp_path) -> None:
    record = {"task": "world", "seed": 50000, "n": 4, "pictures": 3, "rows": []}
    (tmp_path / "record.json").write_text(json.dumps(record))
    with pytest.raises(vc.InputError, match="measure it again"):
        derived.main([str(tmp_path / "record.json")])


TABLED = (  # in the order of their accuracy at the three lowest retentions, the baselines last
    "vscan", "cdpruner", "trim", "apet", "divprune", "scope", "prunesid", "otprune", "vispruner", "holov", "visionzip",
    "fastervlm", "tome", "hiprune", "grid", "random",
)  # fmt: skip


def filter_rows(record: dict) -> list[str]:
    """The table of docs/findings.md: per retention, accuracy where downsample fails / where it is right."""
    rows = {(row["method"], row["retention"]): row.get("downsampling_filter") for row in record["rows"]}
    found = []
    for name in TABLED:
        groups = [rows[name, share] for share in (0.2222, 0.1111, 0.0556, 0.0278)]
        cells = (f"{each['difficult']['accuracy']:.3f} / {each['simple']['accuracy']:.3f}" for each in groups)
        found.append(f"| {vc.REDUCERS[name].title} | {' | '.join(cells)} |")
    sizes = (f"{each['difficult']['n']} / {each['simple']['n']}" for each in groups)
    return [f"| questions | {' | '.join(sizes)} |", *found]


def location_rows(record: dict) -> list[str]:
    """The other table of docs/findings.md: accuracy on questions about places / on all others."""

    def cell(row: dict) -> str:
        right, group = round(row["accuracy"] * row["n"]), row["by_group"]["location"]
        others = (right - round(group["accuracy"] * group["n"])) / (row["n"] - group["n"])
        return f"{group['accuracy']:.3f} / {others:.3f}"

    rows = {(row["method"], row["retention"]): row for row in record["rows"]}
    names = (*TABLED, "downsample")
    shares = (0.2222, 0.1111, 0.0556, 0.0278)
    found = [[cell(rows[name, share]) for share in shares] for name in names]
    return [f"| {vc.REDUCERS[name].title} | {' | '.join(cells)} |" for name, cells in zip(names, found, strict=True)]


def test_the_findings_are_those_of_the_record() -> None:
    record = json.loads((RECORDED / "accuracy_mini.json").read_text())
    assert "\n".join(location_rows(record)) in (ROOT / "docs" / "findings.md").read_text()
    assert "\n".join(filter_rows(record)) in (ROOT / "docs" / "findings.md").read_text()
    rows = {row["method"]: row.get("downsampling_filter") for row in record["rows"] if row["retention"] == 0.1111}
    hard, easy = (
        [f"{rows[name][group]['accuracy']:.1%}".replace("%", " %") for name in ("vscan", "random")]
        for group in ("difficult", "simple")
    )
    sentence = (
        f"loses {rows['vscan']['difficult']['n']}: on these VScan is right in {hard[0]} at 11.1 %, random tokens in "
        f"{hard[1]}; on the other {rows['vscan']['simple']['n']} in {easy[0]} and {easy[1]}"
    )
    assert sentence in " ".join((ROOT / "README.md").read_text().split())
