"""V2Drop: the released code's choices and budgets, and a schedule of the same shape for every retention."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vscan_core as vc
from tests.conftest import golden
from tests.reducers.test_examination import ANATOMY
from tests.reference.apet_slow import v2drop
from vscan_core.budget import average, pyramid
from vscan_core.reducers.v2drop import V2Drop

RELEASED, PARTS = golden("functions2026")
CASES = [pytest.param(case, id=case["id"]) for case in RELEASED["cases"] if case["method"] == "V2Drop"]
QWEN = dataclasses.replace(ANATOMY, text_layers=28)


def test_all_cases_are_there() -> None:
    assert len(CASES) == 6


@pytest.mark.parametrize("case", CASES)
def test_released(case) -> None:
    hidden, entered = PARTS[f"{case['id']}.hidden"], PARTS[f"{case['id']}.entered"]
    chosen = V2Drop().select_in_llm(vc.Signals(hidden=hidden, entered=entered), case["T"])
    assert torch.equal(chosen.kept, PARTS[f"{case['id']}.kept"])
    torch.testing.assert_close(
        chosen.scores["variation"],
        PARTS[f"{case['id']}.scores"],
        atol=RELEASED["about"]["tolerances"]["scores_abs"],
        rtol=0,
    )
    anatomy = QWEN if case["code"] == "qwen" else ANATOMY
    cuts = V2Drop(published=True).schedule(401 if case["code"] == "qwen" else 576, anatomy)
    assert cuts[case["layer"]] == case["T"]


@settings(max_examples=60)
@given(data=st.data())
def test_any_picture_and_budget(data) -> None:
    tokens = data.draw(st.integers(1, 40))
    keep = data.draw(st.integers(1, tokens))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
    make = torch.Generator().manual_seed(tokens)
    entered, change = (torch.randn(tokens, 6, generator=make).to(dtype) for _ in range(2))
    hidden = data.draw(st.sampled_from([entered, entered + change, entered + 1, change * 0]))
    chosen = V2Drop().select_in_llm(vc.Signals(hidden=hidden, entered=entered), keep)
    assert chosen.kept.tolist() == v2drop(hidden.float(), entered.float(), keep)
    assert torch.equal(chosen.labels["variation"], chosen.kept) and chosen.merged_into is None


def test_a_picture_to_check_by_hand() -> None:
    entered = torch.tensor([[9.0, 0], [0, 0], [5, 5], [1, 1]])
    hidden = torch.tensor([[9.0, 1], [0, 3], [2, 1], [1, 1]])  # moved by 1, 3, 5 and 0, whatever their lengths
    chosen = V2Drop().select(vc.Signals(hidden=hidden, entered=entered), 2)
    assert chosen.kept.tolist() == [1, 2] and chosen.scores["variation"].tolist() == [1, 3, 5, 0]


def test_a_change_that_half_precision_cannot_hold() -> None:
    entered = torch.tensor([[-60000.0], [-50000], [1]]).half()
    chosen = V2Drop().select_in_llm(vc.Signals(hidden=-entered, entered=entered), 1)
    assert chosen.kept.tolist() == [0] and chosen.scores["variation"].isfinite().all()


def test_published_budgets() -> None:
    method = V2Drop(published=True)
    assert method.schedule(576, ANATOMY) == {3: 288, 17: 144, 22: 1}
    assert method.spends(576, ANATOMY) == pytest.approx(202.8 / 576, abs=1e-3)
    assert method.schedule(401, QWEN) == {3: 100, 16: 5, 22: 1}
    assert V2Drop(0.9, published=True).schedule(576, ANATOMY, 5) == {3: 1440, 17: 720, 22: 1}
    assert method.schedule(576, dataclasses.replace(ANATOMY, text_layers=40)) == {3: 288, 17: 144, 22: 1}
    with pytest.raises(vc.InputError, match="layers 22 does not exist"):
        method.schedule(576, dataclasses.replace(ANATOMY, text_layers=22))


def test_the_schedule_by_retention_passes_through_the_published_one() -> None:
    assert V2Drop(202.8 / 576).schedule(576, ANATOMY) == {3: 288, 17: 144, 22: 1}
    spent = V2Drop(published=True).spends(401, QWEN)
    assert V2Drop(spent).schedule(401, QWEN) == {3: 100, 16: 5, 22: 1}
    assert V2Drop(1 / 3).schedule(576, ANATOMY) == {3: 270, 17: 126, 22: 1}
    assert V2Drop(0.95).schedule(576, ANATOMY) == {3: 568, 17: 559, 22: 504}


@given(tokens=st.integers(1, 3000), depth=st.integers(3, 80), retention=st.floats(0.35, 1))
def test_any_depth_meets_the_retention_in_ever_smaller_stages(tokens, depth, retention) -> None:
    anatomy = dataclasses.replace(ANATOMY, text_layers=depth)
    try:
        cuts = V2Drop(retention).schedule(tokens, anatomy)
    except vc.InputError as refusal:
        assert depth < 6 or tokens < 8
        assert "out of reach" in str(refusal)
        return
    counts = [tokens, *cuts.values()]
    assert all(before > after >= 1 for before, after in pairwise(counts))
    assert abs(average(cuts, tokens, depth) - retention * tokens) <= 1


def test_where_stages_begin() -> None:
    def layers(depth: int, **more) -> list[int]:
        return list(V2Drop(0.6, **more).schedule(576, dataclasses.replace(ANATOMY, text_layers=depth)))

    assert [layers(depth) for depth in (32, 28, 40, 64)] == [[3, 17, 22], [3, 16, 22], [3, 21, 27], [6, 34, 44]]
    assert layers(6) == [1, 3, 4] and layers(3) == [1, 2]  # two stages begin at layer 1
    assert layers(32, layers=(2, 8, 30)) == [2, 8, 30]
    assert V2Drop(layers=(2, 5), shares=(0.5, 0.1)).schedule(100, ANATOMY) == {2: 50, 5: 5}
    assert V2Drop(layers=(2, 5), shares=(1.0, 0.0)).schedule(100, ANATOMY) == {5: 1}
    assert V2Drop(shares=(0.9, 0.5, 0.5)).schedule(100, ANATOMY) == {3: 90, 17: 45, 22: 22}


def test_compares_with_the_layer_before_and_leaves_gaps() -> None:
    method = V2Drop()
    assert [method.score_layer(cut) for cut in (3, 17, 22)] == [2, 16, 21]
    assert method.needs_in_llm == {"hidden", "entered"} and not method.merges_in_llm
    assert method.position_mode(ANATOMY) == "original"


def test_pyramids_with_other_powers() -> None:
    assert pyramid(0.46875, 576, 32, [8, 16, 24]) == pyramid(0.46875, 576, 32, [8, 16, 24], [1, 2, 3])
    assert pyramid(0.4375, 64, 4, [1, 2], [1, 3]) == {1: 32, 2: 8}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: V2Drop(shares=(0.5, 1.5, 0.0)),
        lambda: V2Drop(shares=(0.5, True, 0.0)),
        lambda: V2Drop(published=True, layers=(3, 17, 22)),
        lambda: V2Drop(published=True, shares=(0.5, 0.5, 0.0)),
        lambda: V2Drop(layers=(3, 17)).schedule(576, ANATOMY),
        lambda: V2Drop(shares=(0.5, 0.5)).schedule(576, ANATOMY),
        lambda: V2Drop(layers=(17, 3, 22)).schedule(576, ANATOMY),
        lambda: V2Drop(layers=(0, 3, 22)).schedule(576, ANATOMY),
        lambda: V2Drop(0.05).schedule(576, ANATOMY),
    ],
)
def test_bad_settings_are_refused(wrong) -> None:
    with pytest.raises(vc.InputError):
        wrong()
