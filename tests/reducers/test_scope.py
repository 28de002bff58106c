"""SCOPE: parity with the released code, and a coverage that can be worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vscan_core as vc
from tests.conftest import golden
from tests.reducers.test_examination import signals
from tests.reference import spread_slow
from vscan_core.reducers import scope
from vscan_core.reducers.scope import SCOPE, covering

CASES, PARTS = golden("functions2026")
MINE = [case for case in CASES["cases"] if case["method"] == "SCOPE"]


def at_angles(*degrees: float) -> torch.Tensor:
    angles = torch.tensor(degrees) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], dim=1)


@pytest.fixture(params=["every similarity", "those that changed"])
def reads(request, monkeypatch) -> None:
    """Both ways of updating gains, whatever the number of tokens."""
    monkeypatch.setattr(scope, "READ_WHOLE", 10**6 if request.param == "every similarity" else 0)


@pytest.mark.usefixtures("reads")
@pytest.mark.parametrize("case", MINE, ids=lambda case: case["id"])
def test_parity(case) -> None:
    features, attention = (PARTS[f"{case['image']}.{name}"] for name in ("features", "cls_attention"))
    added = case["combined"] == "add"
    chosen = SCOPE(alpha=case["alpha"], add=added).select(
        vc.Signals(features=features, cls_attention={22: attention}), case["T"]
    )
    assert torch.equal(chosen.kept, PARTS[f"{case['id']}.kept"])
    weights = (attention.sum(0) if added else attention.mean(0)) ** case["alpha"]
    assert torch.equal(covering(features, weights, case["T"], added), PARTS[f"{case['id']}.order"])


def test_every_recorded_case_is_compared() -> None:
    assert len(MINE) == 10
    assert SCOPE(alpha=1.0, add=False) == SCOPE()  # the released setting


@pytest.mark.usefixtures("reads")
@pytest.mark.parametrize(("side", "keep"), [(4, 1), (4, 7), (5, 24), (6, 11)])
@pytest.mark.parametrize(("alpha", "add"), [(1.0, False), (0.5, False), (3.0, False), (1.0, True), (2.0, True)])
def test_equals_the_slow_reference(side, keep, alpha, add) -> None:
    many = signals(side, seed=keep)
    scores, heads = many.cls_attention[22].mean(0), len(many.cls_attention[22])
    expected = spread_slow.scope(many.features, scores, keep, alpha, heads, add)
    assert SCOPE(alpha=alpha, add=add).select(many, keep).kept.tolist() == expected


def test_the_first_token_covers_most_and_the_next_what_is_left() -> None:
    assert covering(at_angles(0, 10, 20, 90), torch.ones(4), 2).tolist() == [2, 3]
    rows = at_angles(0, 5, 20, 90)  # after the third, the gains are .09, .09 and, by the last, .66
    attended = torch.tensor([0.5, 1.0, 1.0, 0.01])
    assert covering(rows, attended, 2).tolist() == [2, 1]
    assert covering(rows, attended**0.01, 2).tolist() == [2, 3]


def test_what_points_away_covers_nothing_and_does_no_harm() -> None:
    rows = at_angles(0, 0, 180)  # the cosines with the last are -1: coverage begins at 0
    assert covering(rows, torch.ones(3), 2).tolist() == [0, 2]
    assert covering(rows, torch.tensor([1.0, 1.0, 1.9]), 1).tolist() == [0]  # gains 2, 2, 1
    assert covering(rows, torch.tensor([1.0, 1.0, 2.1]), 1).tolist() == [2]
    few = torch.tensor([0.1, 0.1, 0.3])  # .2, .2, .3 as products; 2.1, 2.1, 1.3 as sums
    assert [covering(rows, few, 1).tolist(), covering(rows, few, 1, add=True).tolist()] == [[2], [0]]


def test_attention_is_added_as_the_sum_over_heads() -> None:
    attention = torch.tensor([[0.1, 0.1, 0.8], [0.3, 0.3, 0.4]])  # sums .4, .4, 1.2; gains 2, 2, 1
    given = vc.Signals(features=at_angles(0, 0, 90), cls_attention={22: attention})
    assert SCOPE(add=True).select(given, 1).kept.tolist() == [0]  # 2.4 against 2.2; with means 2.2 against 1.6
    given = dataclasses.replace(given, cls_attention={22: attention.repeat(2, 1)})
    assert SCOPE(add=True).select(given, 1).kept.tolist() == [2]  # 2.8 against 3.4


def test_without_cls_and_before_the_projector_alike() -> None:
    rows, scores = at_angles(0, 40, 80, 120), torch.tensor([0.1, 0.2, 0.3, 0.4])
    received = vc.Signals(projected=rows, received={3: scores})
    attended = vc.Signals(features=rows, cls_attention={3: scores[None]})
    for method in (SCOPE(), SCOPE(add=True)):
        assert torch.equal(method.select(received, 2).kept, method.select(attended, 2).kept)
    sums = vc.Signals(projected=at_angles(0, 0, 90), received={3: torch.tensor([0.4, 0.4, 1.2])})
    assert SCOPE(add=True).select(sums, 1).kept.tolist() == [0]  # 2.4 against 2.2


def test_a_high_power_still_ranks() -> None:
    scores = torch.tensor([1e-6, 3e-6, 2e-6])
    chosen = SCOPE(alpha=9.0).select(vc.Signals(features=torch.eye(3), cls_attention={22: scores[None]}), 2)
    assert chosen.kept.tolist() == [1, 2]


def test_both_ways_agree_where_tokens_repeat(monkeypatch) -> None:
    make = torch.Generator().manual_seed(5)
    rows = torch.randn(40, 6, generator=make)[torch.randint(40, (200,), generator=make)]
    weights = torch.rand(200, generator=make)
    whole = covering(rows, weights, 60)
    monkeypatch.setattr(scope, "READ_WHOLE", 199)
    assert torch.equal(covering(rows, weights, 60), whole)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_tokens_in_any_precision(data) -> None:
    tokens, dim = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 6))
    keep, dtype = data.draw(st.integers(1, tokens)), data.draw(st.sampled_from([torch.float16, torch.bfloat16]))
    make = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    rows = torch.randn(tokens, dim, generator=make)[torch.randint(tokens, (tokens,), generator=make)]  # some repeated
    rows = rows * torch.randint(data.draw(st.integers(0, 2)), 3, (tokens, 1), generator=make)  # some zero
    scores = torch.rand(2, tokens, generator=make) * torch.randint(data.draw(st.integers(0, 1)), 2, (2, tokens))
    method = SCOPE(alpha=data.draw(st.sampled_from([0.0, 1.0, 2.5])), add=data.draw(st.booleans()))
    chosen = method.select(vc.Signals(features=rows.to(dtype), cls_attention={22: scores.to(dtype)}), keep)
    assert len(chosen.kept) == keep and torch.equal(chosen.kept, chosen.kept.unique())
    assert chosen.kept[0] >= 0 and chosen.kept[-1] < tokens


@pytest.mark.parametrize("alpha", [-0.1, math.nan])
def test_a_power_below_nothing_is_refused(alpha) -> None:
    with pytest.raises(vc.InputError, match="alpha must be at least 0"):
        SCOPE(alpha=alpha)
