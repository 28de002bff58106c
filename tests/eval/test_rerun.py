"""The command that makes a result again says all that the result depends on."""

from __future__ import annotations

import json
import shlex
from argparse import ArgumentTypeError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vscan_core as vc
from vscan_core.cli.main import main, parser
from vscan_eval.replies import Condition
from vscan_eval.rerun import command_again, setting_of, share_as_text, share_of
from vscan_eval.tasks import TASKS


@given(st.floats(1e-6, 1.0))
def test_a_share_is_read_as_it_was_written(share) -> None:
    assert share_of(share_as_text(share)) == share


def test_simple_shares_are_written_as_fractions() -> None:
    assert [share_as_text(share) for share in (1.0, 1 / 2, 1 / 9, 2 / 9, 1 / 36)] == ["1", "1/2", "1/9", "2/9", "1/36"]
    assert share_as_text(0.1111) == "0.1111" and share_of("0.111") == 0.111
    for text in ("much", "1/0", ""):
        with pytest.raises(ArgumentTypeError, match="not a number such as"):
            share_of(text)


def test_settings_are_json_or_text() -> None:
    assert setting_of("local_share=0.25") == ("local_share", 0.25) and setting_of("merge=false") == ("merge", False)
    assert setting_of("positions=original") == ("positions", "original")
    assert setting_of('llm_keep={"2": 0.5}') == ("llm_keep", {2: 0.5}) and setting_of("llm_keep={}")[1] == {}
    with pytest.raises(ArgumentTypeError, match="not NAME=VALUE"):
        setting_of("merge")


REDUCERS = [
    vc.VScan(1 / 9, local_share=0.25, merge=False, positions="original"),
    vc.VScan(0.3, encoder_keep=0.5, llm_keep={}),
    vc.VScan(1 / 3, prune_layer=2),
    vc.REDUCERS["grid"](0.123),
    vc.REDUCERS["random"](1 / 18, seed=7),
]


@pytest.mark.parametrize("reducer", REDUCERS, ids=repr)
def test_a_command_is_read_as_what_it_was_made_from(reducer, tmp_path) -> None:
    task = TASKS["pope"](tmp_path / "with blank", seed=3)
    task.second_turn = True
    name = next(name for name, cls in vc.REDUCERS.items() if type(reducer) is cls)
    program, *words = shlex.split(command_again("dummy:llava-small", task, 40, Condition(name, reducer)))
    options = parser().parse_args(words)
    assert program == "vscan" and (options.model, options.task, options.seed) == ("dummy:llava-small", "pope", 3)
    assert (options.data, options.limit, options.method) == (task.data, 40, name)
    assert Condition.named(options.method, options.retention, **dict(options.settings)).reducer == reducer
    assert options.second_turn


def test_what_was_not_given_is_left_out() -> None:
    assert command_again("mini", TASKS["world"](), None, Condition("baseline")) == (
        "vscan eval --task world --model mini --method baseline"
    )


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--method", "vscan", "--set", "magic=1"), "vscan does not have these settings"),
        (("--method", "vscan,grid", "--set", "merge=false"), "--set changes one method"),
        (("--method", "none", "--set", "merge=false"), "none has no settings, but was given merge"),
        (("--method", "vscan", "--set", "local_share=7"), "local_share"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_one_sentence(capsys, more, sentence) -> None:
    assert main(["eval", "--task", "world", "--limit", "1", *more]) == 2
    out, err = capsys.readouterr()
    assert out == "" and sentence in err and err.count("\n") == 1


def test_a_printed_command_gives_the_same_row_again(capsys, tmp_path: Path, monkeypatch) -> None:
    def last(*words: str) -> dict:
        assert main([*words, "--json"]) == 0
        found: dict = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    monkeypatch.setattr("vscan_eval.runner.ANSWERS_FOLDER", tmp_path / "once")
    given = ("--task", "world", "--seed", "50000", "--limit", "8", "--method", "vscan", "--retention", "1/18")
    once = last("eval", *given, "--set", "local_share=0.0")
    assert once["command"].endswith("--method vscan --retention 1/18 --set local_share=0.0")
    monkeypatch.setattr("vscan_eval.runner.ANSWERS_FOLDER", tmp_path / "again")
    assert last(*shlex.split(once["command"])[1:]) == once
