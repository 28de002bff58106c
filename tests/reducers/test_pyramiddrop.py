"""PyramidDrop's schedule at its edges."""

from __future__ import annotations

import pytest

import vscan_core as vc
from vscan_core.selection import Anatomy

LLAVA = Anatomy(vision_layers=24, feature_layer=22, text_layers=32, shallow_layer=6)


def test_the_three_published_halvings() -> None:
    assert vc.REDUCERS["pyramiddrop"](retention=0.46875).schedule(576, LLAVA) == {8: 288, 16: 144, 24: 72}


@pytest.mark.parametrize("retention", [0.2514, 0.253, 0.26, 0.3])
def test_a_token_stays_however_little_is_left_for_the_last_stage(retention) -> None:
    schedule = vc.REDUCERS["pyramiddrop"](retention=retention).schedule(576, LLAVA)
    counts = list(schedule.values())
    assert list(schedule) == sorted(schedule) and set(schedule) <= {8, 16, 24}
    assert counts == sorted(set(counts), reverse=True) and counts[-1] >= 1


def test_less_than_the_first_stage_costs_is_refused() -> None:
    with pytest.raises(vc.InputError, match="out of reach"):
        vc.REDUCERS["pyramiddrop"](retention=0.25).schedule(576, LLAVA)


def test_the_least_that_is_possible_is_one_token_behind_the_first_stage() -> None:
    least = (8 * 576 + 24) / (32 * 576)
    assert vc.REDUCERS["pyramiddrop"](retention=least).schedule(576, LLAVA) == {8: 1}
