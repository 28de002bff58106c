"""The downsampling filter: known cases by hand, and what holds for any answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vscan_core.reducers import REDUCERS
from vscan_eval.downsample_filter import FEWEST_PICTURES, FEWEST_QUESTIONS, FILTERING_METHOD, downsampling_filter
from vscan_eval.statistics import interval

ANSWERS = st.lists(st.tuples(*[st.sampled_from((0.0, 0.3, 0.5, 1.0))] * 3, st.integers(0, 15)), min_size=1, max_size=60)


def pictures(count: int) -> list[str]:
    """A picture for every question."""
    return [str(number) for number in range(count)]


def test_four_questions_by_hand() -> None:
    found = downsampling_filter([1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0], ["a"] * 4)
    assert (found["difficult"]["n"], found["simple"]["n"], found["dense_wrong"]) == (2, 2, 0)
    against = found["against_downsample"]
    counts = [against[name] for name in ("both", "only_method", "only_downsample", "neither")]
    assert counts == [1, 1, 1, 1] and against["p_value"] == 1


def test_what_the_dense_model_fails_is_in_no_group_but_in_the_pairs() -> None:
    found = downsampling_filter([1.0] * 3, [0, 0, 1], [0, 1, 1], pictures(3))
    assert (found["difficult"]["n"], found["simple"]["n"], found["dense_wrong"]) == (0, 1, 2)
    assert found["against_downsample"]["only_method"] == 1 and found["against_downsample"]["both"] == 2


def test_groups_have_their_own_accuracies_and_intervals() -> None:
    # 40 questions: downsample fails the first 20, of which the method answers 15; it answers 18 of the others
    smaller = [0.0] * 20 + [1.0] * 20
    scores = [1.0] * 15 + [0.0] * 5 + [1.0] * 18 + [0.0] * 2
    found = downsampling_filter(scores, [1.0] * 40, smaller, pictures(40))
    assert (found["difficult"]["accuracy"], found["simple"]["accuracy"]) == (0.75, 0.9)
    assert found["difficult"]["interval"] == list(interval(scores[:20], pictures(40)[:20]))
    assert found["difficult"]["too_few"] is found["simple"]["too_few"] is None
    against = found["against_downsample"]
    assert (against["only_method"], against["only_downsample"]) == (15, 2) and against["p_value"] < 0.01


@pytest.mark.parametrize(("questions", "shown", "enough"), [(20, 10, True), (19, 10, False), (20, 9, False)])
def test_too_few_questions_or_pictures_give_a_reason_instead_of_a_number(questions, shown, enough) -> None:
    names = [str(number % shown) for number in range(questions)]
    found = downsampling_filter([1.0] * questions, [1.0] * questions, [0.0] * questions, names)
    difficult = found["difficult"]
    assert (difficult["n"], difficult["pictures"]) == (questions, shown)
    assert (difficult["accuracy"] is not None) == (difficult["interval"] is not None) == enough
    if not enough:
        wanted = f"{questions} of at least {FEWEST_QUESTIONS} questions, {shown} of at least {FEWEST_PICTURES} pictures"
        assert difficult["too_few"] == wanted
    assert found["simple"]["too_few"] == "0 of at least 20 questions, 0 of at least 10 pictures"


def test_half_a_point_counts_as_right_and_soft_scores_are_averaged() -> None:
    found = downsampling_filter([0.6] * 40, [0.5] * 40, [0.49] * 20 + [0.5] * 20, pictures(40))
    assert found["difficult"]["n"] == found["simple"]["n"] == 20
    assert found["difficult"]["accuracy"] == pytest.approx(0.6)


@given(ANSWERS)
def test_every_question_is_counted_once(answers) -> None:
    own, dense, smaller, names = (list(column) for column in zip(*answers, strict=True))
    found = downsampling_filter(own, dense, smaller, [str(name) for name in names])
    assert found["difficult"]["n"] + found["simple"]["n"] + found["dense_wrong"] == len(answers)
    pairs = [found["against_downsample"][name] for name in ("both", "only_method", "only_downsample", "neither")]
    assert sum(pairs) == len(answers) and pairs[0] + pairs[2] == sum(score >= 0.5 for score in smaller)
    for name, easy in (("difficult", False), ("simple", True)):
        mine = [score for score, whole, small, _ in answers if whole >= 0.5 and (small >= 0.5) == easy]
        group = found[name]
        assert group["n"] == len(mine)
        if group["too_few"] is None:
            assert group["accuracy"] == pytest.approx(sum(mine) / len(mine))
            assert group["interval"][0] <= group["accuracy"] <= group["interval"][1]


def test_downsample_against_itself_wins_and_loses_nothing() -> None:
    scores = [0.0] * 20 + [1.0] * 20
    found = downsampling_filter(scores, [1.0] * 40, scores, pictures(40))
    assert (found["difficult"]["accuracy"], found["simple"]["accuracy"]) == (0, 1)
    assert found["against_downsample"]["only_method"] == found["against_downsample"]["only_downsample"] == 0


def test_the_filtering_method_is_one_of_ours() -> None:
    assert FILTERING_METHOD in REDUCERS
