"""The same examination for every reducer: what must hold for any method at the entrance of the LLM."""

from __future__ import annotations

import dataclasses
import re
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vscan_core as vc
from vscan_core.budget import average

ANATOMY = vc.Anatomy(vision_layers=24, feature_layer=22, text_layers=32, shallow_layer=5)


def signals(tokens_per_side: int = 24, seed: int = 0, dtype: torch.dtype = torch.float32) -> vc.Signals:
    make = torch.Generator().manual_seed(seed)
    tokens = tokens_per_side**2
    rows = {layer: (2 * torch.randn(16, tokens, generator=make)).softmax(-1).to(dtype) for layer in (5, 22)}
    other = {
        name: torch.randn(count, dim, generator=make).half().to(dtype)  # the same numbers in either precision
        for name, count, dim in (
            ("projected", tokens, 48),
            ("features", tokens, 32),
            ("keys", tokens, 8),
            ("joint_patches", tokens, 12),
            ("joint_text", 2, 12),
            ("question", 1, 48),
            ("queries", tokens, 4 * 8),
            ("llm_keys", tokens, 2 * 8),
            ("rotated_keys", tokens, 2 * 8),
            ("attended", tokens, 48),
        )
    }
    other["hidden"] = other["entered"] = other["projected"]
    other["question"] = other["question"][0]
    other |= {name: other[name].view(tokens, -1, 8) for name in ("queries", "llm_keys", "rotated_keys")}
    text = (2 * torch.randn(tokens, generator=make)).softmax(-1).to(dtype)
    return vc.Signals(cls_attention=rows, text=text, grid=(tokens_per_side, tokens_per_side), **other)


FORGETS = {"sparsevlm", "pact"}  # merge some of the dropped tokens only

# Where nothing stands out, most methods keep the first tokens; these do not, on 6 x 6 tokens and a budget of 5.
FLAT = {
    "vispruner": [0, 1, 19, 20, 35],  # of equally similar tokens the first go, pass by pass
    "prumerge": [3, 10, 17, 25, 32],  # evenly spread
    "tome": [0, 3, 4, 5, 10],  # of equally similar pairs the first merge, step by step, in changing places
    "trim": [0, 1, 2, 3, 35],  # the mean of all others stands last
    "topv": None,  # the middle of the picture stands out
    "random": None,  # nothing is ever compared
    "grid": [7, 10, 25, 27, 29],
    "downsample": [7, 10, 25, 27, 29],
}


@pytest.mark.parametrize("name", vc.REDUCERS)
def test_says_what_it_is(name: str) -> None:
    cls = vc.REDUCERS[name]
    assert cls.title.lower().replace(" ", "") == name == cls.__module__.rpartition(".")[2]
    assert cls.summary[0].islower() and not cls.summary.endswith(".")
    assert not cls.paper or re.search(r", arXiv \d{4}\.\d{5}(v\d)?$", cls.paper)
    notes = (sys.modules[cls.__module__].__doc__ or "").splitlines()
    assert notes[0] == f"{cls.title}: {cls.summary}."  # pages of the documentation are made of these notes
    assert any(line.startswith("Source: ") for line in notes)


@pytest.mark.parametrize("name", vc.REDUCERS)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_keeps_exactly_the_budget_ascending_and_accounts_for_every_token(name, data) -> None:
    side = data.draw(st.integers(1, 24))
    keep = data.draw(st.integers(1, side * side))
    chosen = vc.REDUCERS[name]().select(signals(side, seed=side), keep)
    assert len(chosen.kept) == keep and torch.equal(chosen.kept, chosen.kept.unique())
    labelled = torch.cat(list(chosen.labels.values())) if chosen.labels else chosen.kept
    assert torch.equal(labelled.sort().values, chosen.kept)
    if chosen.merged_into is not None:
        dropped = chosen.merged_into >= 0
        assert not dropped[chosen.kept].any()
        assert name in FORGETS or dropped.sum() == side * side - keep
        assert torch.isin(chosen.merged_into[dropped], chosen.kept).all()
        assert (chosen.merged_into[~dropped] == -1).all()


@pytest.mark.parametrize("name", vc.REDUCERS)
def test_is_deterministic_and_breaks_ties_by_the_lowest_index(name) -> None:
    flat = vc.Signals(
        projected=torch.ones(36, 4),
        hidden=torch.ones(36, 4),
        question=torch.ones(4),
        queries=torch.ones(36, 4, 2),
        llm_keys=torch.ones(36, 2, 2),
        rotated_keys=torch.ones(36, 2, 2),
        entered=torch.ones(36, 4),
        attended=torch.ones(36, 4),
        features=torch.ones(36, 4),
        keys=torch.ones(36, 4),
        joint_patches=torch.ones(36, 4),
        joint_text=torch.ones(1, 4),
        cls_attention={5: torch.ones(2, 36) / 36, 22: torch.ones(2, 36) / 36},
        text=torch.ones(36) / 36,
        grid=(6, 6),
    )
    chosen = vc.REDUCERS[name]().select(flat, 5)
    expected = FLAT.get(name, [0, 1, 2, 3, 4])
    assert expected is None or chosen.kept.tolist() == expected
    assert torch.equal(chosen.kept, vc.REDUCERS[name]().select(flat, 5).kept)


@pytest.mark.parametrize("name", vc.REDUCERS)
def test_half_precision_chooses_the_same_on_well_separated_data(name) -> None:
    tokens = torch.arange(576)
    steps = ((tokens * 211) % 576).float() / 576  # all different, far apart in fp16
    rows = {5: steps.expand(4, -1), 22: steps.flip(0).expand(4, -1)}
    wide, half = (
        dataclasses.replace(
            signals(dtype=dtype), cls_attention={k: v.to(dtype) for k, v in rows.items()}, text=steps.to(dtype)
        )
        for dtype in (torch.float32, torch.float16)
    )
    reducer = vc.REDUCERS[name]()
    one, other = reducer.select(wide, 96), reducer.select(half, 96)
    assert torch.equal(one.kept, other.kept)
    torch.testing.assert_close(one.apply(wide.features), other.apply(half.features).float(), atol=5e-3, rtol=1e-3)


@pytest.mark.parametrize("name", vc.REDUCERS)
@settings(deadline=None)
@given(retention=st.floats(0.002, 1), tokens=st.sampled_from([576, 2880, 729]), layers=st.integers(3, 64))
def test_schedule_spends_the_asked_average(name, retention, tokens, layers) -> None:
    anatomy = vc.Anatomy(vision_layers=24, feature_layer=22, text_layers=layers, shallow_layer=5)
    schedule = _schedule_or_least(name, retention, tokens, anatomy)
    if isinstance(schedule, float):  # out of reach: what the refusal names is, and is no more than needed
        assert retention < schedule < 1
        with pytest.raises(vc.InputError):
            vc.REDUCERS[name](retention=schedule * 0.99).schedule(tokens, anatomy)
        retention = schedule
        schedule = vc.REDUCERS[name](retention=retention).schedule(tokens, anatomy)
    assert abs(average(schedule, tokens, layers) - retention * tokens) <= 1
    assert list(schedule) == sorted(schedule) and all(0 <= layer < layers for layer in schedule)


def _schedule_or_least(name, retention, tokens, anatomy) -> dict[int, int] | float:
    try:
        return vc.REDUCERS[name](retention=retention).schedule(tokens, anatomy)
    except vc.InputError as refusal:
        return float(re.search(r"the least is (0\.\d+)$", str(refusal))[1])


@pytest.mark.parametrize("name", vc.REDUCERS)
def test_keeping_everything_changes_nothing(name) -> None:
    given = signals(6)
    chosen = vc.REDUCERS[name]().select(given, 36)
    assert torch.equal(chosen.kept, torch.arange(36))
    assert torch.equal(chosen.apply(given.features), given.features)


@pytest.mark.parametrize("name", vc.REDUCERS)
def test_retention_one_cuts_nothing(name) -> None:
    assert vc.REDUCERS[name](retention=1).schedule(576, ANATOMY) == {}
