"""A run that was interrupted ends as one that was not; files of other runs are refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

import vscan_core as vc
from tests.eval.conftest import COLOURS, Colours
from tests.families import lvlms
from tests.families.test_shared_vision import counted
from vscan_eval import runner
from vscan_eval.replies import Condition

METHOD = Condition.named("vscan", 0.4)


def answers(path) -> list[dict]:
    """All lines but the first."""
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


@pytest.fixture
def whole(lvlm, task, tmp_path):
    """A run without interruption: its records."""
    return runner.run_task(lvlm, task, task.chosen(), METHOD, tmp_path / "whole.jsonl", batch=3)


def test_an_interrupted_run_continues(lvlm, task, tmp_path, whole) -> None:
    path, done = tmp_path / "run.jsonl", []

    def interrupt(count: int, known: bool) -> None:
        done.append(count)
        if sum(done) >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run_task(lvlm, task, task.chosen(), METHOD, path, batch=3, progress=interrupt)
    assert 0 < len(answers(path)) < len(whole)
    with path.open("a") as file:  # killed while it wrote
        file.write('{"id": "red-2", "pict')
    steps: list[tuple[int, bool]] = []
    found = runner.run_task(
        lvlm, task, task.chosen(), METHOD, path, batch=3, progress=lambda count, known: steps.append((count, known))
    )
    assert found == whole and sorted(map(str, answers(path))) == sorted(map(str, answers(tmp_path / "whole.jsonl")))
    known = sum(count for count, already in steps if already)
    assert known >= 6 and known + sum(count for count, already in steps if not already) == len(whole)


CONDITIONS = [Condition.named(name, 0.5) for name in ("baseline", "vscan", "vispruner", "fastv", "none")]


@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_runs_that_take_turns_answer_as_alone_and_encode_a_picture_once(family, tmp_path) -> None:
    lvlm, opened = lvlms.lvlm(family), []

    def noted(item):
        return replace(item, open=lambda: opened.append(item.picture) or item.open())

    items = [noted(item) for item in Colours().chosen()]
    runs = [(each, tmp_path / f"{each.name}.jsonl") for each in CONDITIONS]
    with counted(lvlm) as encoded:
        together = runner.run_tasks(lvlm, Colours(), items, runs, batch=4)
    assert len(encoded) == len(COLOURS) and opened == list(COLOURS)
    for each, records in zip(CONDITIONS, together, strict=True):
        assert records == runner.run_task(lvlm, Colours(), items, each, tmp_path / f"alone-{each.name}.jsonl", batch=4)
    assert len({tuple(record.reply for record in records) for records in together}) > 2


def test_a_method_that_changes_the_encoder_runs_it_for_itself(tmp_path) -> None:
    lvlm, items = lvlms.lvlm("llava"), Colours().chosen(8)
    names = ("baseline", "tome", "vscan")
    runs = [(Condition.named(name, 0.5), tmp_path / f"{name}.jsonl") for name in names]
    with counted(lvlm) as encoded:
        together = runner.run_tasks(lvlm, Colours(), items, runs)
    assert len(encoded) == 2 + 2  # two pictures, shared, and again for ToMe
    assert together[1] == runner.run_task(lvlm, Colours(), items, runs[1][0], tmp_path / "alone.jsonl")


def test_runs_that_were_stopped_in_turn_go_on_where_each_was(lvlm, task, tmp_path, whole) -> None:
    runs = [(METHOD, tmp_path / "vscan.jsonl"), (Condition("baseline"), tmp_path / "baseline.jsonl")]
    steps: list[tuple[int, int, bool]] = []

    def interrupt(*step) -> None:
        steps.append(step)
        if steps.count((0, 3, False)) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run_tasks(lvlm, task, task.chosen(), runs, batch=3, progress=interrupt)
    written = [len(answers(path)) for _, path in runs]
    assert written == [7, 4]  # batches of 3 and 1, by turns
    steps.clear()
    method, dense = runner.run_tasks(
        lvlm, task, task.chosen(), runs, batch=3, progress=lambda *step: steps.append(step)
    )
    assert method == whole
    assert dense == runner.run_task(lvlm, task, task.chosen(), runs[1][0], tmp_path / "alone.jsonl", batch=3)
    for run, (count, path) in enumerate(zip(written, ("vscan", "baseline"), strict=True)):
        assert (run, count, True) in steps and len(answers(tmp_path / f"{path}.jsonl")) == len(whole)


def test_a_batch_that_does_not_fit_is_one_sentence_and_keeps_what_there_is(lvlm, task, tmp_path) -> None:
    path, calls = tmp_path / "run.jsonl", []

    def fail(*_) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB")

    handle = lvlm.family.projector(lvlm.model).register_forward_pre_hook(fail)
    try:
        with pytest.raises(vc.OutOfMemory, match=r"4 questions at once; run it again with a batch of 2 \(--batch\)"):
            runner.run_task(lvlm, task, task.chosen(), METHOD, path)
    finally:
        handle.remove()
    assert len(answers(path)) == 4


def test_a_batch_that_is_not_whole_is_asked_again(lvlm, task, tmp_path, whole) -> None:
    path = tmp_path / "whole.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    steps: list[tuple[int, bool]] = []
    found = runner.run_task(
        lvlm, task, task.chosen(), METHOD, path, batch=3, progress=lambda count, known: steps.append((count, known))
    )
    assert found == whole and len(answers(path)) == len(whole)
    assert steps == [(11, True), (1, False)]


def test_a_finished_run_asks_nothing_and_a_smaller_one_loses_nothing(lvlm, task, tmp_path, whole, monkeypatch) -> None:
    monkeypatch.setattr(runner, "PromptBatch", None)
    path = tmp_path / "whole.jsonl"
    assert runner.run_task(lvlm, task, task.chosen(), METHOD, path, batch=3) == whole
    assert runner.run_task(lvlm, task, task.chosen(4), METHOD, path, batch=3) == whole[:4]
    assert len(answers(path)) == len(whole)


def test_answers_of_another_run_are_refused(lvlm, task, tmp_path, whole) -> None:
    path = tmp_path / "whole.jsonl"
    before = path.read_text()
    with pytest.raises(vc.InputError, match=r"answers of another run \(method 'VScan\(retention=0.4.*not 'baseline'"):
        runner.run_task(lvlm, task, task.chosen(), Condition("baseline"), path)
    assert path.read_text() == before
    path.write_text("something else\n")
    with pytest.raises(vc.InputError, match="is not a file of `eval`"):
        runner.run_task(lvlm, task, task.chosen(), METHOD, path)


def test_a_file_that_cannot_be_is_one_sentence(lvlm, task, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    for path, sentence in ((tmp_path, "cannot be read"), (tmp_path / "file" / "run.jsonl", "cannot be")):
        with pytest.raises(vc.InputError, match=sentence):
            runner.run_task(lvlm, task, task.chosen(), METHOD, path)


def test_runs_that_may_not_mix_have_different_files(lvlm, task, monkeypatch) -> None:
    methods = [METHOD, Condition.named("vscan", 0.2), Condition("baseline"), Condition("none")]
    files = {runner.file_of(lvlm, task, method) for method in methods}
    files |= {runner.file_of(lvlm, Colours(seed=1), METHOD)}
    monkeypatch.setattr(Colours, "suffix", "In one word.")
    assert len(files | {runner.file_of(lvlm, task, METHOD)}) == 6


def test_batches_are_of_one_picture_where_work_is_shared(task) -> None:
    items = task.chosen()
    for by_picture in (True, False):
        groups = list(runner.batches(items, by_picture, 3))
        assert [item for group in groups for item in group] == items and max(map(len, groups)) == 3
        assert (max(len({item.picture for item in group}) for group in groups) == 1) == by_picture


def test_pictures_with_one_question_share_a_batch(task) -> None:
    items = [item for item in task.chosen() if item.id != "red-1"][2:6:2] + task.chosen()[8:]
    names = [[item.id for item in group] for group in runner.batches(items, True, 4)]
    assert names == [["gold-0", "gold-1", "gold-2", "gold-3"], ["teal-2", "red-0"]]
