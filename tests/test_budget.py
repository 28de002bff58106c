"""Retention to whole tokens: the published settings, and what must hold for any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vscan_core as vc
from vscan_core import budget


@pytest.mark.parametrize(
    ("retention", "counts"),
    [(1 / 9, (96, 32)), (2 / 9, (192, 64)), (1 / 3, (288, 96)), (0.5, (432, 144)), (1, (576, 576))],
    ids=str,
)
def test_published_settings_of_llava(retention, counts) -> None:
    assert budget.two_stage(retention, 576, 32, 16) == counts


@given(
    retention=st.floats(1e-4, 1),
    tokens=st.integers(1, 5000),
    layers=st.integers(2, 80),
    data=st.data(),
)
def test_true_average_is_the_asked_retention_within_rounding(retention, tokens, layers, data) -> None:
    later = data.draw(st.integers(1, layers - 1))
    if retention * tokens < 1 - 1e-9:
        with pytest.raises(vc.InputError, match="less than one token"):
            budget.two_stage(retention, tokens, layers, later)
        return
    first, second = budget.two_stage(retention, tokens, layers, later)
    assert 1 <= second <= first <= tokens
    true = budget.average({0: first, later: second}, tokens, layers)
    assert abs(true - retention * tokens) <= 1


@given(keep=st.one_of(st.integers(1, 999), st.floats(0.001, 1)), tokens=st.integers(1, 700))
def test_explicit_budgets_stay_between_one_and_all(keep, tokens) -> None:
    count = budget.whole(keep, tokens)
    assert 1 <= count <= tokens
    if isinstance(keep, float):
        assert count <= max(1, keep * tokens)


@pytest.mark.parametrize("retention", [0, -0.1, 1.0001, float("nan"), float("inf"), "0.5", None, True])
def test_wrong_retention_is_refused_with_the_remedy(retention) -> None:
    with pytest.raises(vc.InputError, match="above 0 and at most 1"):
        vc.VScan(retention=retention)


@pytest.mark.parametrize("keep", [0, -1, 0.0, 1.5, True, "96"])
def test_wrong_budgets_are_refused(keep) -> None:
    with pytest.raises(vc.InputError, match="encoder_keep"):
        vc.VScan(encoder_keep=keep)
    with pytest.raises(vc.InputError, match=r"llm_keep\[3\]"):
        vc.VScan(llm_keep={3: keep})
