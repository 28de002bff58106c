"""The same examination for every reducer, from `vscan_core.conformance`, and what only this library's own must hold."""

from __future__ import annotations

import sys

import pytest
import torch

import vscan_core as vc
from vscan_core.conformance import test_choices, test_running
from vscan_core.conformance.made_up import ASKED_ABOUT as ANATOMY
from vscan_core.conformance.made_up import flat_signals, within_reach
from vscan_core.conformance.made_up import made_up_signals as signals

__all__ = ["ANATOMY", "signals"]
FORGETS = {"sparsevlm", "pact"}  # merge some of the dropped tokens only

# Where nothing stands out, most methods keep the first tokens; these do not, on 6 x 6 tokens and a budget of 5.
FLAT = {
    "vispruner": [0, 1, 19, 20, 35],  # of equally similar tokens the first go, pass by pass
    "prumerge": [3, 10, 17, 25, 32],  # evenly spread
    "tome": [0, 3, 4, 5, 10],  # of equally similar pairs the first merge, step by step, in changing places
    "trim": [0, 1, 2, 3, 35],  # the mean of all others stands last
    "holov": [0, 3, 6, 9, 12],  # the first of a run, of the first runs
    "apet": None,  # the basis tokens come last, and rounding alone ranks the others
    "topv": None,  # the middle of the picture stands out
    "random": None,  # nothing is ever compared
    "grid": [7, 10, 25, 27, 29],
    "downsample": [7, 10, 25, 27, 29],
}


@pytest.mark.parametrize("method", vc.REDUCERS)
class TestMethod(test_choices.TestChoices, test_running.TestOnOneModel):
    """Every test of a choice, and every test on one tiny model; test_every_method.py has the others."""

    def refused(self, sentence: str) -> None:
        """Only a picture that is no video."""
        assert "this is a picture" in sentence


@pytest.mark.parametrize("name", vc.REDUCERS)
def test_its_file_says_what_it_is(name: str) -> None:
    cls = vc.REDUCERS[name]
    assert name == cls.__module__.rpartition(".")[2]
    notes = (sys.modules[cls.__module__].__doc__ or "").splitlines()
    assert notes[0] == f"{cls.title}: {cls.summary}."  # pages of the documentation are made of these notes
    assert any(line.startswith("Source: ") for line in notes)


@pytest.mark.parametrize("name", vc.REDUCERS)
def test_breaks_ties_by_the_lowest_index(name: str) -> None:
    reducer = within_reach(name)
    if reducer.sees_all_tiles:
        return  # which frame stands out is another question
    kept, expected = reducer.select(flat_signals(), 5).kept, FLAT.get(name, [0, 1, 2, 3, 4])
    assert expected is None or kept.tolist() == expected


@pytest.mark.parametrize("name", vc.REDUCERS)
def test_what_merges_leaves_nothing_out(name: str) -> None:
    reducer = within_reach(name)
    if not reducer.sees_all_tiles and name not in FORGETS:
        into = reducer.select(signals(), 96).merged_into
        assert into is None or (into >= 0).sum() == 576 - 96


@pytest.mark.parametrize("name", vc.REDUCERS)
def test_a_refused_retention_names_the_least(name: str) -> None:
    try:
        vc.REDUCERS[name](retention=0.002).schedule(576, ANATOMY)
    except vc.InputError as refusal:
        assert test_choices.NAMED_LEAST.search(str(refusal))


def test_the_examination_can_fail(monkeypatch) -> None:
    class Careless(vc.REDUCERS["random"]):  # type: ignore[misc]
        """Keeps one too few, in any order, after a throw of everybody's dice."""

        title = "Careless"

        def select(self, signals, keep):
            return vc.Selection(torch.randperm(signals.tokens)[: keep - 1])

        def schedule(self, tokens, anatomy, tiles=1):
            return {0: tokens // 2}

    monkeypatch.setitem(vc.REDUCERS, "careless", Careless)
    questions = [name for name in vars(test_choices.TestChoices) if name.startswith("test_")]
    failed = set()
    for name in questions:
        more = [torch.float16] * name.startswith("test_half")
        try:
            getattr(test_choices.TestChoices(), name)("careless", *more)
        except (AssertionError, pytest.fail.Exception):
            failed.add(name)
    passes = {"test_says_what_it_is", "test_is_an_immutable_value", "test_makes_no_attention_map"}
    assert failed == set(questions) - passes
