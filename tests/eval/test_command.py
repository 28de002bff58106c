"""`python -m vscan_core eval` on the embedded model."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from vscan_core.cli.main import main

WORLD = ("eval", "--task", "world", "--seed", "50000")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("vscan_eval.runner.ANSWERS_FOLDER", tmp_path / "runs")


def test_json_says_what_was_measured(capsys) -> None:
    assert main([*WORLD, "--method", "vscan", "--retention", "0.111", "--limit", "20", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["model"], found["task"], found["method"], found["n"]) == ("mini", "world", "vscan", 20)
    assert found["interval"][0] <= found["accuracy"] <= found["interval"][1]
    assert sum(part["n"] for part in found["by_type"].values()) == 20
    assert sum(part["n"] * part["accuracy"] for part in found["by_type"].values()) == pytest.approx(
        20 * found["accuracy"]
    )
    places = [found["by_type"][kind] for kind in ("where", "what_at", "side") if kind in found["by_type"]]
    group = found["by_group"]["location"]
    assert group["n"] == sum(part["n"] for part in places) > 0
    assert group["accuracy"] * group["n"] == pytest.approx(sum(part["n"] * part["accuracy"] for part in places))
    assert (found["dense"]["kept_tokens_mean"], found["floor"]["kept_tokens_mean"]) == (576, 0)
    assert found["kept_tokens_mean"] == pytest.approx(0.111 * 576, abs=1)
    assert found["relative"] == pytest.approx(found["accuracy"] / found["dense"]["accuracy"])
    assert 0 < found["p_value"] <= 1 and 0 < found["majority"] < 1
    assert found["dense"]["accuracy"] > found["floor"]["accuracy"], "the model must use the picture"


def test_the_downsampling_filter_is_beside_every_method(capsys) -> None:
    asked = [*WORLD, "--method", "vscan,grid", "--retention", "1/36", "--limit", "8"]
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["downsample"]["retention"] == 1 / 36 and found["downsample"]["downsampling_filter"] is None
    right, small = 8 * found["dense"]["accuracy"], 8 * found["downsample"]["accuracy"]
    for row in (*found["methods"], found["floor"]):
        groups, against = row["downsampling_filter"], row["downsampling_filter"]["against_downsample"]
        assert groups["difficult"]["n"] + groups["simple"]["n"] == round(right) == 8 - groups["dense_wrong"]
        assert against["both"] + against["only_downsample"] == round(small)
        assert against["both"] + against["only_method"] == round(8 * row["accuracy"])
        assert groups["difficult"]["accuracy"] is None and "of at least 20 questions" in groups["difficult"]["too_few"]
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert "downsample fails" in out and "downsample is right" in out and "- where downsample fails: " in out
    assert "vscan eval --task world --model mini --seed 50000 --limit 8 --method grid --retention 1/36" in out
    assert main([*WORLD, "--method", "downsample", "--set", "positions=original", "--limit", "2", "--json"]) == 0
    own = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "positions='original'" in own["settings"] and "positions=None" in own["downsample"]["settings"]
    assert main([*WORLD, "--method", "vscan", "--set", "encoder_keep=0.5", "--set", "llm_keep={}", "--limit", "2"]) == 0
    assert "--set encoder_keep=0.5 --set 'llm_keep={}'" in capsys.readouterr().out
    assert main([*asked, "--alone"]) == 0
    assert "downsampling filter: not applied" in capsys.readouterr().out


def test_table(capsys) -> None:
    assert main([*WORLD, "--limit", "5"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("world: 5 questions about 1 pictures, exact match") and "majority answer" in out
    assert "baseline" in out and "none" in out and "answers in" in err
    assert main([*WORLD, "--limit", "5"]) == 0
    assert "baseline: 5 of 5 answers were already in the file" in capsys.readouterr().err


def test_second_turns_are_a_run_of_their_own(capsys) -> None:
    found = []
    for more in ((), ("--second-turn",)):
        assert main([*WORLD, "--method", "vscan", "--alone", "--limit", "6", "--json", *more]) == 0
        out, err = capsys.readouterr()
        assert "already in the file" not in err
        found.append(json.loads(out.splitlines()[-1]))
    assert [each["second_turn"] for each in found] == [False, True]
    assert found[1]["command"] == f"{found[0]['command']} --second-turn" and found[1]["n"] == 6
    assert main([*WORLD, "--second-turn", "--alone", "--limit", "6"]) == 0
    assert capsys.readouterr().out.startswith("world: 6 second turns about 1 pictures")
    assert main(["eval", "--task", "world-captions", "--seed", "50000", "--second-turn", "--limit", "3"]) == 2
    assert "one question about each picture; leave out --second-turn" in capsys.readouterr().err


def test_several_methods_are_measured_in_one_run(capsys, tmp_path) -> None:
    both = [*WORLD, "--method", "vscan,grid,vscan", "--limit", "8", "--json"]
    assert main(both) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["method"] for row in found["methods"]] == ["vscan", "grid"]
    assert found["dense"]["method"] == "baseline" and found["floor"]["kept_tokens_mean"] == 0
    assert main([*WORLD, "--method", "grid", "--limit", "8", "--json"]) == 0
    out, err = capsys.readouterr()
    alone = json.loads(out.splitlines()[-1])
    assert {name: alone[name] for name in found["methods"][1]} == found["methods"][1]
    assert "grid: 8 of 8 answers were already in the file" in err
    assert main([*both, "--out", str(tmp_path / "one.jsonl")]) == 2
    assert "names the file of one method" in capsys.readouterr().err


def test_stopped_by_hand_is_one_sentence(capsys, monkeypatch) -> None:
    def interrupt(*_, **__) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vscan_eval.runner.PromptBatch", interrupt)
    with pytest.raises(SystemExit, match="130"):
        main([*WORLD, "--limit", "5"])
    assert "the same command resumes from there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--task", "nothing"), "no task 'nothing'; choose world"),
        (("--method", "magic"), "no method 'magic'"),
        (("--limit", "0"), "at least 1 question"),
        (("--batch", "0"), "at least 1 question"),
        (("--retention", "2", "--method", "vscan"), "at most 1"),
        (("--retention", "0.01", "--method", "fastv", "--alone", "--limit", "1"), "out of reach"),
        (("--seed", "1000000"), "were trained on"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(capsys, more, sentence) -> None:
    assert main([*WORLD, *more]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and sentence in err and err.count("\n") == 1


def test_killed_half_way_and_started_again_gives_the_same(tmp_path, capsys) -> None:
    def arguments(file: str) -> list[str]:
        return [*WORLD, "--alone", "--limit", "20", "--batch", "2", "--json", "--out", str(tmp_path / file)]

    def lines(file: str) -> list[str]:
        path = tmp_path / file
        return path.read_text().splitlines() if path.exists() else []

    def finished(file: str) -> tuple[dict, str]:
        assert main(arguments(file)) == 0
        out, err = capsys.readouterr()
        return json.loads(out.splitlines()[-1]), err

    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    killed = subprocess.Popen([sys.executable, "-m", "vscan_core", *arguments("killed.jsonl")], **silent)
    until = time.monotonic() + 240
    while len(lines("killed.jsonl")) < 4 and time.monotonic() < until:
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert 4 <= len(lines("killed.jsonl")) < 21
    (again, told), (whole, nothing) = finished("killed.jsonl"), finished("whole.jsonl")
    assert again == whole and sorted(lines("killed.jsonl")) == sorted(lines("whole.jsonl"))
    assert "already in the file" in told and "already in the file" not in nothing
