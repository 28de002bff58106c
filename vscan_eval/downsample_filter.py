"""Which questions tell methods apart: those that a smaller picture no longer answers.

Source: VTC-Bench, Liao et al. 2025, arXiv:2510.07143. On common benchmarks a smaller picture does as well as many
methods, so most of the questions say nothing about a method. Of those that the dense model answers, the ones that
`downsample` at the same retention gets wrong are "difficult", the others "simple".
But: here the picture is made smaller behind the projector (`downsample`), so that the budget is the same to the token.

A method that errs at random would also be right on some difficult questions, because downsample's own bad luck is among
them: compare with `random` in the same column, not with 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from vscan_eval.statistics import interval, p_value

FILTERING_METHOD = "downsample"  # a key of REDUCERS
RIGHT = 0.5  # a reply with at least this score counts as right, as in VTC-Bench; matters for soft scores only
FEWEST_QUESTIONS, FEWEST_PICTURES = 20, 10  # with fewer, an interval would span half of the scale


def downsampling_filter(
    scores: Sequence[float], dense: Sequence[float], downsample: Sequence[float], pictures: Sequence[str]
) -> dict[str, Any]:
    """How a method does on difficult and on simple questions, and against downsample on all; as JSON types.

    Args:
        scores: Of the method, one per question, 0 to 1.
        dense: Of the model with all tokens, for the same questions.
        downsample: Of `downsample` at the method's retention, for the same questions.
        pictures: The picture of each question; intervals resample pictures.

    Returns:
        `difficult` and `simple`: n, pictures, accuracy, interval; the last two are None if the questions are
        too few, and `too_few` says so. `dense_wrong`: questions left out because the dense model fails.
        `against_downsample`, on all questions: how many are right with both, only_method, only_downsample, neither;
        and p_value, of the paired test of equal scores.

    Four questions about one picture, right with all tokens; the method is right on 0 and 1, downsample on 1 and 2:
    difficult.n 2 (0 and 3), simple.n 2, both 1, only_method 1, only_downsample 1, neither 1.
    """
    known, smaller = ([score >= RIGHT for score in each] for each in (dense, downsample))
    right = [score >= RIGHT for score in scores]
    pairs = list(zip(right, smaller, strict=True))
    answered = list(zip(known, smaller, strict=True))
    groups = {
        name: [place for place, both in enumerate(answered) if both == (True, easy)]
        for name, easy in (("difficult", False), ("simple", True))
    }
    found: dict[str, Any] = {
        name: _group([scores[place] for place in places], [pictures[place] for place in places])
        for name, places in groups.items()
    }
    return found | {
        "dense_wrong": known.count(False),
        "against_downsample": {
            "both": pairs.count((True, True)),
            "only_method": pairs.count((True, False)),
            "only_downsample": pairs.count((False, True)),
            "neither": pairs.count((False, False)),
            "p_value": p_value(scores, downsample, pictures),
        },
    }


def _group(scores: Sequence[float], pictures: Sequence[str]) -> dict[str, Any]:
    count, shown = len(scores), len(set(pictures))
    about = {"n": count, "pictures": shown}
    if count < FEWEST_QUESTIONS or shown < FEWEST_PICTURES:
        reason = f"{count} of at least {FEWEST_QUESTIONS} questions, {shown} of at least {FEWEST_PICTURES} pictures"
        return about | {"accuracy": None, "interval": None, "too_few": reason}
    return about | {"accuracy": fmean(scores), "interval": list(interval(scores, pictures)), "too_few": None}
