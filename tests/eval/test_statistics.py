"""Intervals and the paired test: known cases, and coverage where questions share their picture's luck."""

from __future__ import annotations

import numpy as np
import pytest

from vscan_eval.statistics import interval, p_value


def test_interval_covers_the_truth_although_questions_share_pictures() -> None:
    rng, hits, runs = np.random.default_rng(0), 0, 80
    for _ in range(runs):
        luck = rng.choice((0.4, 1.0), 60)  # of each picture; the true accuracy is 0.7
        scores = (rng.random((60, 10)) < luck[:, None]).astype(float).ravel()
        low, high = interval(list(scores), [str(i // 10) for i in range(600)])
        hits += low <= 0.7 <= high
        assert high - low > 0.12  # 600 independent questions would give 0.07
    assert hits / runs > 0.88


def test_interval_where_all_are_alike_is_wilsons_over_pictures() -> None:
    low, high = interval([1.0] * 20, [str(i) for i in range(20)])
    assert (low, high) == (pytest.approx(0.8389, abs=1e-3), 1.0)
    low, high = interval([1.0] * 20, ["one picture"] * 20)
    assert low < 0.3 and high == 1.0


def test_interval_is_the_same_in_every_run() -> None:
    rng = np.random.default_rng(1)
    scores, pictures = rng.random(50).tolist(), [str(i % 9) for i in range(50)]
    assert interval(scores, pictures) == interval(scores, pictures)


def test_p_value() -> None:
    five = [str(i) for i in range(5)]
    assert p_value([1.0] * 5, [0.0] * 5, five) == pytest.approx(2 / 2**5)
    assert p_value([1.0, 0.0], [1.0, 0.0], ["a", "b"]) == 1
    assert p_value([1.0] * 5, [0.0] * 5, ["the same"] * 5) == 1  # one picture says nothing
    many = [str(i) for i in range(300)]
    assert p_value([1.0] * 300, [0.0] * 30 + [1.0] * 270, many) < 0.001
