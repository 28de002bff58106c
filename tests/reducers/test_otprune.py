"""OTPrune: parity with the released code, and the greedy maximum that it shares with CDPruner."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vscan_core as vc
from tests.conftest import golden
from tests.reducers.test_examination import signals
from tests.reference import spread_slow
from vscan_core.reducers.cdpruner import greedy_map
from vscan_core.reducers.otprune import OTPrune, covariances

CASES, PARTS = golden("functions2026")
MINE = [case for case in CASES["cases"] if case["method"] == "OTPrune"]


@pytest.mark.parametrize("case", MINE, ids=lambda case: case["id"])
def test_parity(case) -> None:
    features = PARTS[f"otprune.{case['image']}.projected"]
    chosen = OTPrune(gamma=case["gamma"]).select(vc.Signals(projected=features), case["T"])
    assert torch.equal(chosen.kept, PARTS[f"{case['id']}.kept"])
    kernel = case["gamma"] * covariances(features)
    order = greedy_map(kernel, torch.ones(len(features)), case["T"], ridge=1.0)
    assert case["order_is_firm"] and torch.equal(order, PARTS[f"{case['id']}.order"])
    assert torch.equal(PARTS[f"{case['id']}.released_order"].sort().values, chosen.kept)


def test_every_recorded_case_is_compared() -> None:
    assert len(MINE) == 7
    assert all(OTPrune(gamma=case["gamma"]) == OTPrune() for case in MINE)  # the released setting


@pytest.mark.parametrize(("side", "keep"), [(4, 1), (4, 7), (5, 24), (6, 11), (7, 30)])
@pytest.mark.parametrize("gamma", [0.01, 0.3, 10.0])
def test_equals_the_slow_reference(side, keep, gamma) -> None:
    many = signals(side, seed=keep)
    expected = spread_slow.otprune(many.projected, keep, gamma)
    assert OTPrune(gamma=gamma).select(many, keep).kept.tolist() == expected


def test_small_differences_are_not_rounded_away_beside_the_identity() -> None:
    many = signals(6, seed=1)
    gamma = 1e-9  # variances of 1 + 1e-9 times something: one value in float32
    for keep in (3, 11, 20):
        expected = spread_slow.otprune(many.projected, keep, gamma)
        assert OTPrune(gamma=gamma).select(many, keep).kept.tolist() == expected
        assert expected != list(range(keep))


def test_products_of_all_pairs_after_every_dimension_was_scaled() -> None:
    rows = torch.tensor([[3.0, 0.0, 0.0], [4.0, 1.0, 0.0]])  # the last one is 0 everywhere
    torch.testing.assert_close(covariances(rows), torch.tensor([[0.36, 0.96], [0.96, 2.92]]))
    torch.testing.assert_close(covariances(rows * torch.tensor([10.0, 0.1, 7.0])), covariances(rows))


def test_the_largest_comes_first_and_then_what_it_does_not_explain() -> None:
    rows = torch.tensor([[0.5, 0.0], [0.5, 0.0], [0.0, 0.4], [0.0, 0.3], [0.0, 0.3]]).sqrt()
    torch.testing.assert_close(covariances(rows).diagonal(), torch.tensor([0.5, 0.5, 0.4, 0.3, 0.3]))
    assert OTPrune(gamma=100.0).select(vc.Signals(projected=rows), 2).kept.tolist() == [0, 2]  # 1 repeats 0


def test_a_ridge_stands_for_an_addition_to_the_diagonal() -> None:
    rows = signals(5, seed=4).projected
    kernel, weights = rows @ rows.T, torch.ones(25)
    expected = greedy_map(kernel + 3 * torch.eye(25), weights, 25)
    assert torch.equal(greedy_map(kernel, weights, 25, ridge=3.0), expected)
    assert not torch.equal(greedy_map(kernel, weights, 25, ridge=0.1), expected)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_tokens_in_any_precision(data) -> None:
    tokens, dim = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 6))
    keep, dtype = data.draw(st.integers(1, tokens)), data.draw(st.sampled_from([torch.float16, torch.bfloat16]))
    make = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    rows = torch.randn(tokens, dim, generator=make)[torch.randint(tokens, (tokens,), generator=make)]  # some repeated
    rows = rows * torch.randint(data.draw(st.integers(0, 2)), 3, (tokens, 1), generator=make)  # some zero
    rows = rows * data.draw(st.sampled_from([0.0, 1.0, 1000.0]))
    method = OTPrune(gamma=data.draw(st.sampled_from([0.01, 1e6])))
    kept = method.select(vc.Signals(projected=rows.to(dtype)), keep).kept
    assert len(kept) == keep and torch.equal(kept, kept.unique())
    assert kept[0] >= 0 and kept[-1] < tokens


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.inf, math.nan])
def test_a_weight_without_meaning_is_refused(gamma) -> None:
    with pytest.raises(vc.InputError, match="gamma must be positive and finite"):
        OTPrune(gamma=gamma)
