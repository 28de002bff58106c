"""PruneSID: the released code's choices with its own random numbers, and every step on its own."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vscan_core as vc
from tests.conftest import golden
from tests.reducers.test_examination import ANATOMY, signals
from tests.reference import prunesid_slow
from vscan_core.reducers.prunesid import PruneSID, components, granted, survivors

RELEASED, PARTS = golden("functions2026")
CASES = [pytest.param(case, id=case["id"]) for case in RELEASED["cases"] if case["method"] == "PruneSID"]


@dataclasses.dataclass(frozen=True)
class AsDrawn(PruneSID):
    """With the recorded numbers of a run instead of those of the seed."""

    name: str = ""

    def projection(self, length: int, groups: int) -> torch.Tensor:
        drawn = PARTS[f"{self.name}.randn"]
        assert drawn.shape == (length, groups)
        return drawn


def given_in(case) -> vc.Signals:
    if case["code"] == "llava":
        attention = {22: PARTS[f"{case['image']}.cls_attention"]}
        return vc.Signals(features=PARTS[f"{case['image']}.features"], cls_attention=attention)
    return vc.Signals(projected=PARTS[f"{case['image']}.projected"])


def test_all_cases_are_there() -> None:
    assert len(CASES) == 13


@pytest.mark.parametrize("case", CASES)
def test_released(case) -> None:
    name, given = case["id"], given_in(case)
    keep = case["T"] - (case["code"] == "llava")  # there, CLS counts
    chosen = AsDrawn(name=name).select(given, keep)
    assert torch.equal(chosen.kept, PARTS[f"{name}.kept"])
    assert set(chosen.kept.tolist()) == set(PARTS[f"{name}.order"].tolist())


@pytest.mark.parametrize("case", CASES)
def test_released_steps(case) -> None:
    name, given = case["id"], given_in(case)
    rows = given.projected if given.features is None else given.features
    table = rows.sigmoid().T
    loads = components(table - table.mean(0), PARTS[f"{name}.randn"])
    group = PARTS[f"{name}.groups"]
    assert torch.equal(loads.argmax(1), group)
    if f"{name}.loadings" in PARTS:
        tolerance = RELEASED["about"]["tolerances"]["loadings_abs"]
        torch.testing.assert_close(loads, PARTS[f"{name}.loadings"], atol=tolerance, rtol=0)
    sizes, keep = torch.bincount(group, minlength=case["n_groups"]), len(PARTS[f"{name}.kept"])
    quota = granted(sizes, PARTS[f"{name}.survivors"], case["T"], keep)
    assert torch.equal(quota, PARTS[f"{name}.granted"])
    alike = torch.nn.functional.normalize(rows, dim=1)
    value = loads.amax(1) if case["code"] == "qwen2vl" else given.salience
    alive = []
    for number in range(case["n_groups"]):
        ranked = value.masked_fill(group != number, -1).argsort(descending=True, stable=True)[: sizes[number]]
        alive.append(int(survivors(alike[ranked] @ alike[ranked].T > case["threshold"]).sum()) if len(ranked) else 0)
    assert alive == PARTS[f"{name}.survivors"].tolist()


@pytest.mark.parametrize("seed", [0, 3, None])
@pytest.mark.parametrize("has_cls", [True, False])
@pytest.mark.parametrize(("side", "keep"), [(5, 1), (5, 2), (5, 7), (5, 24), (7, 16), (7, 30)])
def test_follows_the_slow_reference(side, keep, has_cls, seed) -> None:
    given = signals(side, seed=keep)
    scores = given.cls_attention[22].mean(0) if has_cls else None
    given = given if has_cls else dataclasses.replace(given, cls_attention={})
    rows = given.features if has_cls else given.projected
    expected = prunesid_slow.prunesid(rows, scores, keep, seed)
    assert PruneSID(seed=seed).select(given, keep).kept.tolist() == expected


@settings(max_examples=150)
@given(data=st.data())
def test_any_picture_and_budget(data) -> None:
    tokens, dim = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 20))
    keep = data.draw(st.integers(1, tokens))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
    kind = data.draw(st.sampled_from(["noise", "ones", "zeros", "repeated", "huge"]))
    rows = torch.randn(tokens, dim, generator=torch.Generator().manual_seed(tokens)).to(dtype)
    rows = {"ones": torch.ones_like(rows), "zeros": rows * 0, "repeated": rows[:3].repeat(17, 1)[:tokens]}.get(
        kind, rows * (3000 if kind == "huge" else 1)
    )
    attention = {22: torch.rand(2, tokens, generator=torch.Generator().manual_seed(dim)).to(dtype)}
    given = vc.Signals(features=rows, projected=rows, cls_attention=attention if data.draw(st.booleans()) else {})
    method = PruneSID(seed=data.draw(st.sampled_from([0, 7, None])))
    chosen = method.select(given, keep)
    assert len(chosen.kept) == keep and torch.equal(chosen.kept, chosen.kept.unique())
    assert torch.equal(chosen.kept, method.select(given, keep).kept)
    assert all(score.isfinite().all() for score in chosen.scores.values())


@given(data=st.data())
def test_every_quota_is_met(data) -> None:
    sizes = data.draw(st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(any))
    alive = [data.draw(st.integers(min(1, size), size)) for size in sizes]
    extra = data.draw(st.booleans())
    low = sum(map(bool, sizes))
    budget = data.draw(st.integers(low + extra, max(low + extra, sum(sizes))).filter(lambda n: n <= sum(sizes)))
    found = granted(torch.tensor(sizes), torch.tensor(alive), budget, budget - extra).tolist()
    assert sum(found) == budget - extra
    assert all(min(1, size) <= share <= size for share, size in zip(found, sizes, strict=True))
    assert found == prunesid_slow.quotas(sizes, alive, budget, budget - extra)


@given(st.integers(1, 9), st.integers(0, 10**6))
def test_survivors_are_those_of_one_pass(tokens, seed) -> None:
    clash = torch.rand(tokens, tokens, generator=torch.Generator().manual_seed(seed)) < 0.3
    clash, lives = clash | clash.T, []
    for token in range(tokens):
        lives.append(not any(lives[other] and clash[token, other] for other in range(token)))
    assert survivors(clash).tolist() == lives


def test_examples_of_docstrings() -> None:
    chain = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1]], dtype=torch.bool)
    assert survivors(chain).tolist() == [True, False, True]
    assert granted(torch.tensor([6, 3, 1]), torch.tensor([3, 1, 1]), 5, 5).tolist() == [3, 1, 1]


def test_copies_come_last_in_their_group() -> None:
    """Two kinds of tokens, and of each one copy: with two groups of one survivor each, the best of either kind stay."""
    kinds = torch.tensor([[4.0, -4, 0, 0], [0, 0, 4, -4]])
    rows = kinds.repeat_interleave(16, 0)
    attention = torch.linspace(0.9, 0.1, 32).expand(1, 32)
    kept = PruneSID().select(vc.Signals(features=rows, cls_attention={3: attention}), 8).kept
    assert (kept < 16).sum() == (kept >= 16).sum() == 4
    assert kept.tolist() == [0, 1, 2, 3, 16, 17, 18, 19]


def test_redundant_tokens_make_room_for_others() -> None:
    """In one group the best token has a twin; the twin goes although it is second by attention."""
    rows = torch.randn(12, 16, generator=torch.Generator().manual_seed(1))
    rows[1] = rows[0]
    attention = torch.linspace(0.9, 0.1, 12).expand(1, 12)
    kept = PruneSID().select(vc.Signals(features=rows, cls_attention={3: attention}), 3).kept.tolist()
    assert kept[0] == 0 and 1 not in kept


def test_reads_no_attention_where_there_is_no_cls() -> None:
    bare = dataclasses.replace(ANATOMY, has_cls=False)
    assert PruneSID().needs(ANATOMY) == vc.selection.Needs(cls_attention=(22,))
    assert PruneSID().needs(bare) == vc.selection.Needs(projected=True)
    given = signals(6)
    received = dataclasses.replace(given, cls_attention={}, received={22: given.text})
    none = dataclasses.replace(given, cls_attention={})
    one, other = (PruneSID().select(each, 12) for each in (received, none))
    assert torch.equal(one.kept, other.kept) and set(one.scores) == {"loading"}
    assert set(PruneSID().select(given, 12).scores) == {"global"}


def test_the_seed_is_a_setting() -> None:
    given = signals(12)
    kept = [PruneSID(seed=seed).select(given, 40).kept.tolist() for seed in (0, 0, 1, None)]
    assert kept[0] == kept[1] and kept[0] != kept[2] and kept[3] not in kept[:3]
    assert torch.equal(PruneSID(seed=4).projection(5, 2), PruneSID(seed=4).projection(5, 2))
