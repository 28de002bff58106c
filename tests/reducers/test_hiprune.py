"""HiPrune: parity with the released code, and neighbourhoods that can be worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import vscan_core as vc
from tests.conftest import golden
from tests.reducers.test_examination import ANATOMY, signals
from tests.reference import halfway_slow
from vscan_core.reducers.hiprune import HiPrune, with_neighbours

CASES, PARTS = golden("functions2026")
MINE = [case for case in CASES["cases"] if case["method"] == "HiPrune"]
GRIDS = {"large": (24, 24), "small": (7, 9), "edges": (7, 9)}


def recorded(case) -> vc.Signals:
    """What the released code saw: columns of attention maps, or their means over heads and all rows."""
    image, names = case["image"], {8: "middle", 22: "feature"}
    received = {layer: PARTS[f"{image}.received.{name}"] for layer, name in names.items()}
    if case.get("full_map"):  # row and column 0 are CLS
        received = {layer: PARTS[f"{image}.attention.{name}"].mean((0, 1))[1:] for layer, name in names.items()}
    return vc.Signals(received=received, grid=GRIDS[image])


def on_the_edge(case) -> bool:
    """Whether an anchor lies on the edge of the picture, so that neighbours of the released code are not beside it."""
    rows, cols = GRIDS[case["image"]]
    row, col = PARTS[f"{case['id']}.anchors"] // cols, PARTS[f"{case['id']}.anchors"] % cols
    return bool(((row == 0) | (row == rows - 1) | (col == 0) | (col == cols - 1)).any())


@pytest.mark.parametrize("case", MINE, ids=lambda case: case["id"])
def test_parity(case) -> None:
    given_signals, (_, cols) = recorded(case), GRIDS[case["image"]]
    assert cols == case["width"]
    chosen = HiPrune(alpha=case["alpha"], released=True).select(given_signals, case["T"])
    assert torch.equal(chosen.kept, PARTS[f"{case['id']}.kept"]) and len(chosen.kept) == case["T"]
    assert torch.equal(chosen.labels["near"], PARTS[f"{case['id']}.near"])
    assert round(case["T"] * case["alpha"] / 5) == case["n_anchors"] == len(PARTS[f"{case['id']}.anchors"])
    if not on_the_edge(case):
        ours = HiPrune(alpha=case["alpha"]).select(given_signals, case["T"])
        assert torch.equal(ours.kept, chosen.kept) and torch.equal(ours.labels["near"], chosen.labels["near"])


def test_the_vectors_have_anchors_on_the_edge_and_elsewhere() -> None:
    assert (len(MINE), sum(map(on_the_edge, MINE))) == (16, 5)
    top = next(case for case in MINE if case["id"] == "hiprune.small.r0.223.a0.5.map")  # one anchor, in the first row
    near = [HiPrune(alpha=0.5, released=flag).select(recorded(top), 14).labels["near"] for flag in (True, False)]
    assert [part.tolist() for part in near] == [[0, 4, 5, 6, 14], [4, 5, 6, 14]]


@pytest.mark.parametrize("released", [False, True])
@given(
    rows=st.integers(1, 9),
    cols=st.integers(1, 9),
    share=st.floats(0, 1),
    alpha=st.floats(0, 1),
    seed=st.integers(0, 99),
    kind=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    flat=st.booleans(),
)
def test_any_grid_keeps_exactly_the_budget(released, rows, cols, share, alpha, seed, kind, flat) -> None:
    tokens, make = rows * cols, torch.Generator().manual_seed(seed)
    middle, deep = ((torch.zeros if flat else torch.ones)(tokens) * torch.rand(2, tokens, generator=make)).to(kind)
    keep = max(1, round(share * tokens))
    chosen = HiPrune(alpha=alpha, released=released).select(
        vc.Signals(received={1: middle, 3: deep}, grid=(rows, cols)), keep
    )
    assert len(chosen.kept) == keep and torch.equal(chosen.kept, chosen.kept.unique())
    assert torch.equal(torch.cat([*chosen.labels.values()]).sort().values, chosen.kept)
    if not released:
        assert chosen.kept.tolist() == halfway_slow.hiprune(middle, deep, cols, keep, alpha)[0]


@pytest.mark.parametrize("side", [5, 8])
@pytest.mark.parametrize("keep", [1, 2, 7, 16, 24])
def test_equals_the_slow_reference(side, keep) -> None:
    seen = signals(side, seed=keep)
    for alpha in (0.0, 0.1, 0.5, 1.0):
        expected, _ = halfway_slow.hiprune(seen.received[8], seen.received[22], side, keep, alpha)
        assert HiPrune(alpha=alpha).select(seen, keep).kept.tolist() == expected


def test_neighbours_stay_inside_the_picture() -> None:
    assert with_neighbours(torch.tensor([3]), (2, 3), 6).tolist() == [0, 3, 4]
    assert with_neighbours(torch.tensor([3]), (2, 3), 6, wrap=True).tolist() == [0, 2, 3, 4, 5]
    assert with_neighbours(torch.tensor([8]), (3, 3), 9).tolist() == [5, 7, 8]
    assert with_neighbours(torch.tensor([], dtype=torch.long), (3, 3), 9).tolist() == []
    assert with_neighbours(torch.tensor([0]), (1, 1), 1, wrap=True).tolist() == [0]


def test_anchors_come_before_neighbours_and_those_of_the_first_before_those_of_the_second() -> None:
    both = torch.tensor([12, 0])  # in the middle and in a corner of 5 x 5
    expected = [[12], [0, 12], [0, 11, 12], [0, 11, 12, 13], [0, 7, 11, 12, 13], [0, 7, 11, 12, 13, 17]]
    assert [with_neighbours(both, (5, 5), most).tolist() for most in range(1, 7)] == expected
    assert with_neighbours(both, (5, 5), 9).tolist() == [0, 1, 5, 7, 11, 12, 13, 17]


def test_a_token_that_stands_out_twice_is_kept_once() -> None:
    strong = torch.zeros(25).index_fill(0, torch.tensor([12]), 9.0)  # above 1: an attention that is a sum
    chosen = HiPrune(alpha=1.0).select(vc.Signals(received={1: strong, 3: strong}, grid=(5, 5)), 7)
    assert chosen.labels["near"].tolist() == [7, 11, 12, 13, 17]
    assert chosen.kept.tolist() == [0, 1, 7, 11, 12, 13, 17]


def test_asks_for_the_middle_and_the_output_layer() -> None:
    assert HiPrune().needs(ANATOMY) == vc.Needs(received=(8, 22))
    assert HiPrune(middle_layer=22).needs(ANATOMY) == vc.Needs(received=(22,))
    tower = dataclasses.replace(ANATOMY, vision_layers=32, feature_layer=31, middle_layer=15)
    assert HiPrune().needs(tower) == vc.Needs(received=(15, 31))
    without_cls = dataclasses.replace(tower, has_cls=False)
    assert HiPrune().needs(without_cls) == vc.Needs(cls_attention=(15, 31))
    assert HiPrune(retention=1 / 9).schedule(576, ANATOMY) == {0: 64}
    for wrong in (-1, 23):
        with pytest.raises(vc.InputError, match="middle_layer must lie between 0 and 22"):
            HiPrune(middle_layer=wrong).needs(ANATOMY)
    for alpha in (-0.1, 1.1):
        with pytest.raises(vc.InputError, match="alpha must lie between 0 and 1"):
            HiPrune(alpha=alpha)


def test_other_methods_layers_are_not_taken_for_its_own() -> None:
    rows = {layer: torch.rand(36, generator=torch.Generator().manual_seed(layer)) for layer in (1, 3, 5, 7)}
    without = vc.Signals(received=rows, grid=(6, 6))
    with_cls = dataclasses.replace(without, cls_attention={1: rows[1][None], 5: rows[5][None]})
    needs = vc.Needs(cls_attention=(3,), received=(5,))
    assert set(without.seen_by(needs).received) == {3, 5}
    assert set(with_cls.seen_by(needs).received) == {5} and not with_cls.seen_by(needs).cls_attention
    assert set(with_cls.seen_by(vc.Needs(cls_attention=(1, 5))).cls_attention) == {1, 5}
    together = vc.Needs(cls_attention=(1, 5), received=(3,)) | vc.Needs(received=(2, 3), keys=True)
    assert together == vc.Needs(cls_attention=(1, 5), received=(2, 3), keys=True)
