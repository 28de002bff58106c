"""Uncertainty of an accuracy. Questions about one picture are not independent, so pictures are resampled."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
FLIPS = 9999
LEVEL = 0.95

Array = NDArray[np.float64]


def interval(scores: Sequence[float], pictures: Sequence[str]) -> tuple[float, float]:
    """95 % interval of the mean score: BCa bootstrap over pictures (Efron 1987), the same in every run.

    If resampling is uninformative (one picture, or all with the same score): Wilson's interval, with n = pictures.
    """
    from scipy import stats  # here, because it is slow to import and only this command needs it

    sums, counts = sums_by_picture(scores, pictures)
    mean = float(sums.sum() / counts.sum())
    if len(sums) > 1 and np.ptp(sums / counts) > 0:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a degenerate distribution gives nan, see below
            found = stats.bootstrap(
                (sums, counts),
                _ratio,
                paired=True,
                n_resamples=RESAMPLES,
                confidence_level=LEVEL,
                rng=np.random.default_rng(0),
            ).confidence_interval
        if np.isfinite([found.low, found.high]).all():
            return float(found.low), float(found.high)
    wilson = stats.binomtest(round(mean * len(sums)), len(sums)).proportion_ci(LEVEL, method="wilson")
    return min(float(wilson.low), mean), max(float(wilson.high), mean)


def p_value(scores: Sequence[float], others: Sequence[float], pictures: Sequence[str]) -> float:
    """Two-sided paired permutation test of equal means: the sign of each picture's difference is flipped at random.

    `scores` and `others` belong to the same questions. Exact for few pictures, else 9,999 draws: at least 0.0002.
    """
    from scipy import stats

    sums, _ = sums_by_picture([one - other for one, other in zip(scores, others, strict=True)], pictures)
    if len(sums) < 2 or not sums.any():
        return 1.0
    found = stats.permutation_test(
        (sums, np.zeros_like(sums)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=FLIPS,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def sums_by_picture(scores: Sequence[float], pictures: Sequence[str]) -> tuple[Array, Array]:
    """(pictures,) sums of scores and (pictures,) numbers of questions."""
    _, place = np.unique(np.asarray(pictures), return_inverse=True)
    sums, counts = np.bincount(place, np.asarray(scores, float)), np.bincount(place)
    return sums.astype(np.float64), counts.astype(np.float64)


def _ratio(sums: Array, counts: Array, axis: int = -1) -> Array:
    found: Array = sums.sum(axis=axis) / counts.sum(axis=axis)
    return found
