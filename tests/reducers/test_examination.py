"""The same examination for every reducer: what must hold for any method at the entrance of the LLM."""

from __future__ import annotations

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
    projected = torch.randn(tokens, 48, generator=make).to(dtype)
    return vc.Signals(projected=projected, cls_attention=rows, grid=(tokens_per_side, tokens_per_side))


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
        assert not dropped[chosen.kept].any() and dropped.sum() == side * side - keep
        assert torch.isin(chosen.merged_into[dropped], chosen.kept).all()


@pytest.mark.parametrize("name", vc.REDUCERS)
def test_is_deterministic_and_breaks_ties_by_the_lowest_index(name) -> None:
    flat = vc.Signals(
        projected=torch.ones(36, 4), cls_attention={5: torch.ones(2, 36) / 36, 22: torch.ones(2, 36) / 36}, grid=(6, 6)
    )
    chosen = vc.REDUCERS[name]().select(flat, 5)
    assert chosen.kept.tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(chosen.kept, vc.REDUCERS[name]().select(flat, 5).kept)


@pytest.mark.parametrize("name", vc.REDUCERS)
def test_half_precision_chooses_the_same_on_well_separated_data(name) -> None:
    tokens = torch.arange(576)
    steps = ((tokens * 211) % 576).float() / 576  # all different, far apart in fp16
    rows = {5: steps.expand(4, -1), 22: steps.flip(0).expand(4, -1)}
    wide = vc.Signals(projected=torch.randn(576, 8), cls_attention=rows, grid=(24, 24))
    half = vc.Signals(
        projected=wide.projected.half(), cls_attention={k: v.half() for k, v in rows.items()}, grid=(24, 24)
    )
    reducer = vc.REDUCERS[name]()
    assert torch.equal(reducer.select(wide, 96).kept, reducer.select(half, 96).kept)


@pytest.mark.parametrize("name", vc.REDUCERS)
@settings(deadline=None)
@given(retention=st.floats(0.002, 1), tokens=st.sampled_from([576, 2880, 729]), layers=st.integers(2, 64))
def test_schedule_spends_the_asked_average(name, retention, tokens, layers) -> None:
    anatomy = vc.Anatomy(vision_layers=24, feature_layer=22, text_layers=layers, shallow_layer=5)
    schedule = vc.REDUCERS[name](retention=retention).schedule(tokens, anatomy)
    assert abs(average(schedule, tokens, layers) - retention * tokens) <= 1
    assert list(schedule) == sorted(schedule) and all(0 <= layer < layers for layer in schedule)


@pytest.mark.parametrize("name", vc.REDUCERS)
def test_retention_one_cuts_nothing(name) -> None:
    assert vc.REDUCERS[name](retention=1).schedule(576, ANATOMY) == {}
