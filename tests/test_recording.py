"""Recordings: what was recorded comes back, a bad file is one sentence, and the shipped ones are true."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import vscan_core as vc
from tests.families import lvlms
from vscan_core.cli.main import main
from vscan_core.recording import load_recording, record, save_recording
from vscan_core.recording.packing import packed_scores, unpacked_scores
from vscan_core.resources import asset

RUNS = asset("recorded", "runs")
EXAMPLES = json.loads(asset("examples", "examples.json").read_text(encoding="utf-8"))
TICK = 0.004  # seconds


class FakeClock:
    """Every look at it is one tick later."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        self.seconds += TICK
        return self.seconds


@pytest.fixture(scope="module")
def recorded():
    """A model with tiles and newlines, a picture with private data, two methods."""
    picture = Image.radial_gradient("L").convert("RGB").resize((150, 100))
    picture.info["comment"] = b"private"
    methods = [vc.VScan(0.2, llm_keep={1: 0.5}), vc.REDUCERS["random"](0.2)]
    lvlm = lvlms.lvlm("llava_next")
    facts = {"hardware": "CPU", "versions": {"torch": "2"}}
    return record(lvlm, picture, "word5", methods, rounds=3, max_new_tokens=4, facts=facts, note="So.", now=FakeClock())


@pytest.fixture
def folder(recorded, tmp_path) -> Path:
    save_recording(recorded, tmp_path / "run")
    return tmp_path / "run"


def test_what_was_recorded_comes_back(recorded, folder) -> None:
    found = load_recording(folder)
    assert (found.model, found.question, found.note) == (recorded.model, "word5", "So.")
    assert found.facts == recorded.facts and found.picture.size == (150, 100)
    for now, before in zip(found.runs, recorded.runs, strict=True):
        one, other = now.answer, before.answer
        assert (one.text, one.token_ids, one.method, one.cost) == (
            other.text,
            other.token_ids,
            other.method,
            other.cost,
        )
        assert (now.title, now.settings, now.texts) == (before.title, before.settings, before.texts)
        assert one.trace.tokens_per_layer == other.trace.tokens_per_layer
        assert one.trace.visual_tokens_per_layer == other.trace.visual_tokens_per_layer
        torch.testing.assert_close(one.trace.boxes(0), other.trace.boxes(0), atol=0.06, rtol=0, equal_nan=True)
        image, original = one.trace.images[0], other.trace.images[0]
        assert (image.tokens, image.grid, image.tiles, image.budget) == (
            original.tokens, original.grid, original.tiles, original.budget,
        )  # fmt: skip
        assert torch.equal(image.origin, original.origin)
        for cut, was in zip(image.cuts, original.cuts, strict=True):
            assert cut.layer == was.layer and torch.equal(cut.kept, was.kept)
            assert torch.equal(cut.merged_into, was.merged_into)
            assert {name: index.tolist() for name, index in cut.labels.items()} == {
                name: index.tolist() for name, index in was.labels.items()
            }
            for name, values in was.scores.items():
                step = float(values.nan_to_num().abs().max()) / 30_000
                torch.testing.assert_close(cut.scores[name], values.float(), atol=step, rtol=0, equal_nan=True)


def test_boxes_are_in_pixels_of_the_recorded_picture(recorded) -> None:
    boxes = recorded.runs[0].answer.trace.boxes(0)
    assert boxes[:, 2].nan_to_num().max() == pytest.approx(150, abs=1)
    assert boxes[:, 3].nan_to_num().max() == pytest.approx(100, abs=1)


def test_times_are_those_of_the_rounds_and_of_the_clock(recorded) -> None:
    for run in recorded.runs:
        assert all(len(values) == 3 for values in run.repeats.values())
        assert run.answer.timings.prefill_ms == run.spread("prefill_ms")[0] == sorted(run.repeats["prefill_ms"])[1]
        steps = torch.tensor(run.token_ms).diff()
        torch.testing.assert_close(steps, torch.full_like(steps, 1000 * TICK), atol=0.01, rtol=0)
        assert len(run.texts) == len(run.token_ms) == len(run.answer.token_ids) and run.texts[-1] == run.answer.text
    median, least, most = recorded.ratios(recorded.runs[1], "prefill_ms")
    assert least <= median <= most


def test_nothing_private_is_kept_of_the_picture(folder) -> None:
    assert b"private" not in (folder / "picture.webp").read_bytes()
    assert not Image.open(folder / "picture.webp").getexif()


BAD = {
    "not JSON": lambda data: "{",
    "no object": lambda data: [],
    "other schema": lambda data: data | {"schema": "vscan-recording/9"},
    "no runs": lambda data: data | {"runs": []},
    "no baseline": lambda data: data | {"runs": data["runs"][1:]},
    "question": lambda data: data | {"question": 5},
    "size": lambda data: data | {"picture": {"width": 3, "height": 3}},
    "huge": lambda data: data | {"image": data["image"] | {"tokens": 10**12}},
    "index": lambda data: changed(data, lambda cut: cut["kept"].append(10**9)),
    "order": lambda data: changed(data, lambda cut: cut["kept"].reverse()),
    "negative": lambda data: changed(data, lambda cut: cut["kept"].insert(0, -5)),
    "boolean": lambda data: changed(data, lambda cut: cut["kept"].__setitem__(1, True)),
    "merges": lambda data: changed(data, lambda cut: cut.update(merged_into=[1])),
    "scores": lambda data: changed(data, lambda cut: cut["scores"].update(more={"low": 0, "high": 1, "levels": "?"})),
    "labels": lambda data: changed(data, lambda cut: cut.update(labels=[])),
}


def changed(data, change):
    change(data["runs"][1]["cuts"][0])
    return data


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_one_sentence(folder, kind) -> None:
    made = BAD[kind](json.loads((folder / "run.json").read_text()))
    (folder / "run.json").write_text(made if isinstance(made, str) else json.dumps(made))
    with pytest.raises(vc.InputError) as error:
        load_recording(folder)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


@pytest.mark.parametrize(
    "name", ["cost", "timings", "repeats", "texts", "token_ms", "attention", "visual_tokens_per_layer"]
)
def test_a_missing_or_infinite_figure_is_one_sentence(folder, name) -> None:
    data = json.loads((folder / "run.json").read_text())
    for value in (None, {"prefill_ms": float("inf")}, [float("nan")], "x"):
        data["runs"][1][name] = value
        (folder / "run.json").write_text(json.dumps(data))
        with pytest.raises(vc.InputError, match="no recording that can be read"):
            load_recording(folder)


def test_files_that_are_not_there(folder, tmp_path) -> None:
    with pytest.raises(vc.InputError, match="no file run.json"):
        load_recording(tmp_path)
    (folder / "picture.webp").write_bytes(b"x")
    with pytest.raises(vc.InputError, match="not a picture"):
        load_recording(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(vc.InputError, match="cannot be written"):
        save_recording(load_shipped(EXAMPLES[0]), tmp_path / "file" / "deeper")


def test_scores_keep_their_order_and_their_gaps() -> None:
    values = torch.tensor([0.5, float("nan"), -2.0, 0.5001, 7.0])
    found = unpacked_scores(packed_scores(values), 5)
    assert found.isnan().tolist() == values.isnan().tolist()
    assert found.nan_to_num(-9).argsort().tolist() == values.nan_to_num(-9).argsort().tolist()
    assert unpacked_scores(packed_scores(torch.full((2,), torch.nan)), 2).isnan().all()
    assert unpacked_scores(packed_scores(torch.full((2,), 3.0)), 2).tolist() == [3.0, 3.0]


def load_shipped(example):
    return load_recording(RUNS / Path(example["image"]).stem)


def test_every_example_is_recorded_with_the_answers_it_was_chosen_for() -> None:
    """What examples.json says was measured in batches; the recordings ask one by one."""
    assert {path.name for path in RUNS.iterdir()} == {Path(example["image"]).stem for example in EXAMPLES}
    for example in EXAMPLES:
        found = load_shipped(example)
        said = {run.answer.method: run.answer.text for run in found.runs}
        assert said.pop("baseline") == example["answer"] and said == example["measured"]
        assert (found.question, found.note) == (example["question"], example["note"])
        assert found.runs[1].retention == example["retention"] and not found.random_weights
        assert {"command", "date", "hardware", "versions"} <= found.facts.keys()
    assert sum(file.stat().st_size for file in RUNS.rglob("*")) < 1_000_000


def test_a_shipped_recording_is_what_the_model_gives(mini) -> None:
    found = load_shipped(EXAMPLES[0])
    picture = vc.open_image(asset("examples", EXAMPLES[0]["image"]))
    reducer = vc.VScan(EXAMPLES[0]["retention"])
    *_, done = vc.answer(mini, picture, found.question, reducer, max_new_tokens=12)
    assert done.answer.text == found.runs[1].answer.text
    for now, was in zip(done.answer.trace.images[0].cuts, found.runs[1].answer.trace.images[0].cuts, strict=True):
        assert len(set(now.kept.tolist()) & set(was.kept.tolist())) >= 0.95 * len(was.kept)  # other processors round


def test_the_command_records(capsys, tmp_path) -> None:
    shutil.copy(asset("examples", EXAMPLES[0]["image"]), tmp_path / "picture.png")
    words = ["record", "--image", str(tmp_path / "picture.png"), "--question", EXAMPLES[0]["question"], "--rounds", "1"]
    assert main([*words, "--methods", "vscan, random", "--out", str(tmp_path / "out"), "--note", "Look."]) == 0
    assert "written to" in capsys.readouterr().out
    found = load_recording(tmp_path / "out")
    assert [run.answer.method for run in found.runs] == ["baseline", "vscan", "random"] and found.note == "Look."
    assert str(tmp_path) not in (tmp_path / "out" / "run.json").read_text()
    assert main([*words, "--methods", "magic", "--out", str(tmp_path)]) == 2
    assert main([*words[:-1], "0", "--out", str(tmp_path)]) == 2
