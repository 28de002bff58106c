"""HoloV: parity with the released code, and runs, shares and overflow that can be worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vscan_core as vc
from tests.conftest import golden
from tests.reducers.test_examination import signals
from tests.reference import spread_slow
from vscan_core.reducers.holov import HoloV, Runs, allotted, unlikeness

CASES, PARTS = golden("functions2026")
MINE = [case for case in CASES["cases"] if case["method"] == "HoloV"]


def attended(scores: list[float], rows: torch.Tensor | None = None) -> vc.Signals:
    attention = torch.tensor([scores])
    return vc.Signals(projected=torch.eye(len(scores)) if rows is None else rows, cls_attention={22: attention})


@pytest.mark.parametrize("case", MINE, ids=lambda case: case["id"])
def test_parity(case) -> None:
    features, attention = (PARTS[f"{case['image']}.{name}"] for name in ("projected", "cls_attention"))
    recorded = vc.Signals(projected=features, cls_attention={22: attention})
    released = HoloV(runs=case["runs"], released=True).select(recorded, case["T"])
    rows = released.apply(features)
    positions = PARTS[f"{case['id']}.positions"]
    there = positions[positions >= 0].sort().values
    assert torch.equal(there, PARTS[f"{case['id']}.kept"]) and len(there) == case["n_kept"]
    empty = ~torch.isin(released.kept, there)
    assert int(empty.sum()) == case["n_padded"] and not rows[empty].any()
    assert torch.equal(rows[~empty], features[there])
    filled = HoloV(runs=case["runs"]).select(recorded, case["T"])
    assert torch.equal(filled.kept, released.kept) and filled.mix is None  # real tokens where the release has zeros


@pytest.mark.parametrize("case", MINE, ids=lambda case: case["id"])
def test_parity_of_the_budget_of_each_run(case) -> None:
    attention, features = (PARTS[f"{case['image']}.{name}"] for name in ("cls_attention", "projected"))
    method, runs = HoloV(runs=case["runs"]), Runs(len(features), case["runs"])
    shares = method._shares(runs, features, attention.mean(0))
    assert torch.equal(allotted(shares, case["T"]).long(), PARTS[f"{case['id']}.allocated"])
    attention_alone = runs.mean(attention.mean(0))
    torch.testing.assert_close(
        shares, attention_alone / attention_alone.sum(), atol=1e-5, rtol=0
    )  # nothing else counts


def test_every_recorded_case_is_compared() -> None:
    assert len(MINE) == 8 and sum(case["n_padded"] > 0 for case in MINE) == 3


@pytest.mark.parametrize(("side", "keep"), [(4, 1), (4, 7), (5, 24), (6, 11), (7, 30)])
@pytest.mark.parametrize("runs", [None, 1, 3, 4, 16])
@pytest.mark.parametrize("common", [False, True])
def test_equals_the_slow_reference(side, keep, runs, common) -> None:
    many = signals(side, seed=keep)
    kept, granted = spread_slow.holov(many.projected, many.cls_attention[22].mean(0), keep, runs, common)
    assert HoloV(runs=runs, common_scale=common).select(many, keep).kept.tolist() == kept
    released = HoloV(runs=runs, common_scale=common, released=True).select(many, keep)
    there = released.apply(torch.ones(side * side, 1))[:, 0]
    assert released.kept[there > 0].tolist() == granted


def test_runs_follow_each_other_and_the_first_are_longer() -> None:
    runs = Runs(11, 4)  # 3, 3, 3 and 2 tokens
    assert [part.tolist() for part in runs.cut(torch.arange(11))] == [[[0, 1, 2], [3, 4, 5], [6, 7, 8]], [[9, 10]]]
    assert runs.mean(torch.arange(11.0)).tolist() == [1, 4, 7, 9.5]
    assert runs.each_token(torch.tensor([5, 6, 7, 8])).tolist() == [5, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8]
    assert torch.equal(runs.join(runs.cut(torch.arange(11))), torch.arange(11))
    assert [part.shape for part in Runs(6, 3).cut(torch.ones(6, 5))] == [(3, 2, 5)]


def test_shares_are_rounded_down_and_the_rest_goes_to_the_largest() -> None:
    assert allotted(torch.tensor([0.5, 0.3, 0.2]), 4).tolist() == [3, 1, 0]
    assert allotted(torch.tensor([0.25, 0.25, 0.25, 0.25]), 6).tolist() == [2, 2, 1, 1]


def test_attention_decides_how_much_and_which() -> None:
    given = attended([0.01, 0.02, 0.03, 0.02, 0.2, 0.1, 0.3, 0.4])  # runs with .08 and 1.0
    assert HoloV(runs=2).select(given, 4).kept.tolist() == [4, 5, 6, 7]
    given = attended([0.1, 0.2, 0.3, 0.2, 0.2, 0.1, 0.3, 0.4])  # .8 and 1.0 of 3: 1.3 and 1.7
    assert HoloV(runs=2).select(given, 3).kept.tolist() == [2, 6, 7]
    assert HoloV(runs=1).select(given, 3).kept.tolist() == [2, 6, 7]
    assert HoloV(runs=8).select(given, 3).kept.tolist() == [2, 6, 7]


def test_what_overflows_goes_where_the_share_is_largest_for_what_is_there() -> None:
    scores = [0.4, 0.4, 0.06, 0.05, 0.02, 0.02]  # shares .84, .12, .04 of 5 tokens: 5, 0, 0, but a run has 2
    chosen, released = (HoloV(runs=3, released=kind).select(attended(scores), 5) for kind in (False, True))
    assert chosen.kept.tolist() == released.kept.tolist() == [0, 1, 2, 3, 4]
    assert released.apply(torch.eye(6)).tolist() == [*torch.eye(6)[:2].tolist(), *[[0.0] * 6] * 3]
    assert HoloV(runs=3).select(attended(scores), 3).kept.tolist() == [0, 1, 2]
    scores = [0.4, 0.4, 0.05, 0.06, 0.05, 0.05]  # one more for the second run, then one for the third
    assert HoloV(runs=3).select(attended(scores), 4).kept.tolist() == [0, 1, 3, 4]


def test_diversity_is_the_variance_of_the_cosines_with_the_run() -> None:
    rows = torch.zeros(2, 4, 8)
    rows[0, :, 0] = 2  # the cosines are 1 and, with the token itself, 0
    rows[1, :, 4:] = torch.eye(4)
    torch.testing.assert_close(unlikeness(rows), torch.tensor([[1 / 3] * 4, [0.0] * 4]))
    repeated = torch.tensor([[[1.0, 0], [1, 0], [0, 1]]])  # cosines 0, 1, 0 of mean .5, and 0, 0, 0
    torch.testing.assert_close(unlikeness(repeated), torch.tensor([[0.375, 0.375, 0]]))
    assert unlikeness(torch.ones(3, 1, 5)).tolist() == [[0], [0], [0]]


def test_diversity_counts_only_on_a_common_scale() -> None:
    many = signals(8, seed=3)
    other = dataclasses.replace(many, projected=torch.randn(64, 48, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(HoloV(runs=4).select(many, 30).kept, HoloV(runs=4).select(other, 30).kept)
    rows = torch.zeros(32, 17)
    rows[:16, 0] = 1  # all cosines 1, a variance of 1 / 15
    rows[16:, 0], rows[16:, 1:] = 0.1**0.5, 0.9**0.5 * torch.eye(16)  # all cosines .1, a variance of .01 / 15
    given = attended([1 / 32] * 32, rows)
    assert int((HoloV(runs=2).select(given, 13).kept < 16).sum()) == 7  # half of it, and the odd one
    chosen = HoloV(runs=2, common_scale=True).select(given, 13)  # 1 + .09 * 1.98 against 1 + .09 * .02
    assert int((chosen.kept < 16).sum()) == 8  # 7.03 and the missing one of 5.97


def test_runs_by_the_budget() -> None:
    for keep, runs in ((64, 16), (128, 8), (192, 5), (500, 2), (575, 1)):  # of 576
        many = signals(24)
        assert torch.equal(HoloV().select(many, keep).kept, HoloV(runs=runs).select(many, keep).kept)
    assert not torch.equal(HoloV().select(many, 64).kept, HoloV(runs=15).select(many, 64).kept)


@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_any_tokens_in_any_precision(data) -> None:
    tokens, dim = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 6))
    keep, dtype = data.draw(st.integers(1, tokens)), data.draw(st.sampled_from([torch.float16, torch.bfloat16]))
    make = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    rows = torch.randn(tokens, dim, generator=make)[torch.randint(tokens, (tokens,), generator=make)]  # some repeated
    rows = rows * torch.randint(data.draw(st.integers(0, 2)), 3, (tokens, 1), generator=make)  # some zero
    power = data.draw(st.sampled_from([0.0, 1.0, 20.0]))  # from all alike to a single token with all attention
    scores = torch.rand(2, tokens, generator=make) ** power * data.draw(st.integers(0, 1))
    method = {"runs": data.draw(st.none() | st.integers(1, 60)), "common_scale": data.draw(st.booleans())}
    given = vc.Signals(projected=rows.to(dtype), cls_attention={22: scores.to(dtype)})
    chosen, released = (HoloV(released=kind, **method).select(given, keep) for kind in (False, True))
    assert len(chosen.kept) == keep and torch.equal(chosen.kept, chosen.kept.unique())
    assert chosen.kept[0] >= 0 and chosen.kept[-1] < tokens
    assert torch.equal(chosen.kept, released.kept)
    weights = released.apply(torch.ones(tokens, 1))[:, 0]
    assert ((weights == 0) | (weights == 1)).all()
    assert keep < tokens or method["runs"] != 1 or not scores.any() or (weights == 1).all()


def test_no_runs_are_refused() -> None:
    for runs in (0, -3):
        with pytest.raises(vc.InputError, match="runs must be at least 1"):
            HoloV(runs=runs)
