"""DART: parity with the implementation that the vectors come from, and pivots that can be worked out by hand."""

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
from vscan_core.reducers.dart import DART, hash_order, key_norms, least_similar

CASES, PARTS = golden("functions2026")
MINE = [case for case in CASES["cases"] if case["method"] == "DART"]


def normed(hidden: torch.Tensor) -> torch.Tensor:
    """After the LLM's final RMSNorm."""
    return torch.nn.functional.rms_norm(hidden, hidden.shape[-1:], PARTS["dart.norm_weight"], 1e-5)


def recorded() -> vc.Signals:
    return vc.Signals(
        normed=normed(PARTS["dart.hidden"]),
        text_normed=normed(PARTS["dart.text_hidden"]),
        rotated_keys=PARTS["dart.keys"],
        text_rotated_keys=PARTS["dart.text_keys"],
    )


def method(case, **settings) -> DART:
    return DART(image_pivots=case["pivot_image"], text_pivots=case["pivot_text"], **settings)


@pytest.mark.parametrize("case", MINE, ids=lambda case: case["id"])
def test_parity(case) -> None:
    released = method(case, keep=1 - case["reduction"], released=True, image_start=case["image_start"])
    assert released.schedule(576, ANATOMY) == {2: case["T"]}
    chosen = released.select_in_llm(recorded(), case["T"])
    assert torch.equal(chosen.kept, PARTS[f"{case['id']}.kept"]) and len(chosen.kept) == case["T"]
    pivots = PARTS[f"{case['id']}.pivots"]
    assert torch.equal(chosen.labels["pivot"], pivots[pivots < 576].sort().values)


@pytest.mark.parametrize("case", MINE, ids=lambda case: case["id"])
def test_parity_of_the_order_of_pivots(case) -> None:
    own = key_norms(PARTS["dart.keys"]).topk(case["pivot_image"]).indices
    words = key_norms(PARTS["dart.text_keys"]).topk(max(case["pivot_text"], 1)).indices[: case["pivot_text"]]
    pivots = torch.cat([own, words + 576])
    assert torch.equal(pivots[hash_order(pivots, case["image_start"])], PARTS[f"{case['id']}.pivots"])
    elsewhere = pivots[hash_order(pivots, case["image_start"] + 7)]
    assert not torch.equal(elsewhere, PARTS[f"{case['id']}.pivots"])  # it depends on where the image is


@pytest.mark.parametrize("case", MINE, ids=lambda case: case["id"])
def test_without_the_released_order_the_pivots_are_the_same_and_the_budget_is_exact(case) -> None:
    ours = method(case, keep=1 - case["reduction"])
    (keep,) = ours.schedule(576, ANATOMY).values()
    assert keep == int((1 - case["reduction"]) * 576)
    chosen = ours.select_in_llm(recorded(), case["T"])
    pivots = PARTS[f"{case['id']}.pivots"]
    assert torch.equal(chosen.labels["pivot"], pivots[pivots < 576].sort().values)
    tensors = recorded()
    of_text = (tensors.text_rotated_keys, tensors.text_normed)
    sizes = (case["pivot_image"], case["pivot_text"])
    expected, _ = halfway_slow.dart(tensors.rotated_keys, tensors.normed, *of_text, case["T"], sizes)
    assert chosen.kept.tolist() == expected and expected != PARTS[f"{case['id']}.kept"].tolist()


def test_there_are_six_vectors() -> None:
    assert len(MINE) == 6


@pytest.mark.parametrize("side", [5, 8])
@pytest.mark.parametrize("keep", [1, 3, 4, 5, 13, 20, 24])
def test_equals_the_slow_reference(side, keep) -> None:
    seen = signals(side, seed=keep)
    for text in (5, 2, 0):  # fewer than the pivots
        cut = dataclasses.replace(
            seen, text_normed=seen.text_normed[:text], text_rotated_keys=seen.text_rotated_keys[:text]
        )
        tensors = (cut.rotated_keys, cut.normed, cut.text_rotated_keys, cut.text_normed)
        for pivots in ((4, 4), (1, 3), (6, 0)):
            chosen = DART(image_pivots=pivots[0], text_pivots=pivots[1]).select_in_llm(cut, keep)
            assert chosen.kept.tolist() == halfway_slow.dart(*tensors, keep, pivots)[0]


@given(
    tokens=st.integers(1, 40),
    text=st.integers(0, 6),
    share=st.floats(0, 1),
    image_pivots=st.integers(1, 9),
    text_pivots=st.integers(0, 9),
    kind=st.sampled_from(["drawn", "float16", "bfloat16", "alike", "zero"]),
    released=st.booleans(),
)
def test_keeps_exactly_the_budget(tokens, text, share, image_pivots, text_pivots, kind, released) -> None:
    make = torch.Generator().manual_seed(tokens)
    rows = {"alike": torch.ones(tokens + text, 8), "zero": torch.zeros(tokens + text, 8)}.get(
        kind, torch.randn(tokens + text, 8, generator=make)
    )
    rows = rows.to(getattr(torch, kind, torch.float32))
    given_signals = vc.Signals(
        normed=rows[:tokens],
        text_normed=rows[tokens:],
        rotated_keys=rows[:tokens].unflatten(-1, (2, 4)),
        text_rotated_keys=rows[tokens:].unflatten(-1, (2, 4)),
    )
    keep = max(1, round(share * tokens))
    reducer = DART(image_pivots=image_pivots, text_pivots=text_pivots, released=released)
    chosen = reducer.select_in_llm(given_signals, keep)
    assert len(chosen.kept) == keep and torch.equal(chosen.kept, chosen.kept.unique())
    assert torch.equal(torch.cat([*chosen.labels.values()]).sort().values, chosen.kept)
    assert len(chosen.labels["pivot"]) == min(image_pivots, keep)


def test_examples_of_docstrings() -> None:
    angle = torch.tensor([0.0, 10, 90, 180]).deg2rad()
    unit = torch.stack([angle.cos(), angle.sin()], dim=1)
    none = torch.tensor([], dtype=torch.long)
    assert least_similar(unit, unit[[0, 3]], none, 3).tolist() == [3, 2, 0]
    assert least_similar(unit, unit[[0, 3]], torch.tensor([0, 3]), 2).tolist() == [2, 1]
    assert DART(retention=1 / 3).schedule(576, ANATOMY) == {2: 166}


def test_text_decides_with_the_image_but_does_not_count() -> None:
    unit = torch.eye(6)
    keys = torch.tensor([9.0, 1, 2, 3, 4, 5])[:, None, None]
    seen = vc.Signals(normed=unit, rotated_keys=keys, text_normed=-unit[[4]], text_rotated_keys=torch.tensor([[[7.0]]]))
    chosen = DART(image_pivots=1, text_pivots=1).select_in_llm(seen, 3)
    # token 1 is the first of those at right angles to token 0, and 4 is the opposite of the word
    assert chosen.kept.tolist() == [0, 1, 4] and chosen.labels["pivot"].tolist() == [0]
    assert DART(image_pivots=1, text_pivots=0).select_in_llm(seen, 3).kept.tolist() == [0, 1, 2]


def test_the_released_number_of_tokens() -> None:
    for budget, kept in ((128, 132), (64, 68), (192, 196), (7, 4)):
        assert DART(keep=budget, released=True).schedule(576, ANATOMY) == {2: kept}
        assert DART(keep=budget).schedule(576, ANATOMY) == {2: budget}
    assert DART(keep=24, released=True).schedule(6, ANATOMY, 4) == {}  # 28 tokens of 24
    assert DART(retention=1 / 3, released=True).schedule(576, ANATOMY) == {2: 4 + 8 * (166 // 8)}


def test_asks_for_the_text_only_if_it_has_pivots() -> None:
    assert DART().needs_in_llm == {"normed", "rotated_keys", "text_normed", "text_rotated_keys"}
    assert DART(text_pivots=0).needs_in_llm == {"normed", "rotated_keys"}
    assert DART().score_layer(2) == 1 and DART().needs(ANATOMY) == vc.Needs()
    assert DART().position_mode(ANATOMY) == "original" and DART().uses_rope(ANATOMY)


@pytest.mark.parametrize("wrong", [{"image_pivots": 0}, {"text_pivots": -1}, {"image_start": -1}], ids=str)
def test_bad_settings_are_refused(wrong) -> None:
    with pytest.raises(vc.InputError, match=next(iter(wrong))):
        DART(**wrong)
