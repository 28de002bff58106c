"""A run that was interrupted ends as one that was not; files of other runs are refused."""

from __future__ import annotations

import json

import pytest

import vscan_core as vc
from tests.eval.conftest import Colours
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
    monkeypatch.setattr(runner, "generate_replies", None)
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
    for shared in ("picture", "prompt"):
        groups = list(runner.batches(items, shared, 3))
        assert [item for group in groups for item in group] == items and max(map(len, groups)) == 3
        assert (max(len({item.picture for item in group}) for group in groups) == 1) == (shared == "picture")


def test_pictures_with_one_question_share_a_batch(task) -> None:
    items = [item for item in task.chosen() if item.id != "red-1"][2:6:2] + task.chosen()[8:]
    names = [[item.id for item in group] for group in runner.batches(items, "prefill", 4)]
    assert names == [["gold-0", "gold-1", "gold-2", "gold-3"], ["teal-2", "red-0"]]
