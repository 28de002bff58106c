"""Scores against examples worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vscan_eval.metrics import (
    anls,
    contains_answer,
    edit_distance,
    exact_match,
    iou,
    letter,
    normalise,
    pope_figures,
    relaxed_match,
    vqa_score,
    yes_or_no,
)

WORDS = st.text("ab c", max_size=7)


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The two cats.", "2 cats"),
        ("1,000", "1000"),
        ("2.5!", "2.5"),
        ("Don't", "dont"),
        ("top-left", "top left"),
        (" none ", "0"),
        ("", ""),
    ],
)
def test_normalise(text, normalised) -> None:
    assert normalise(text) == normalised


def test_exact_match() -> None:
    assert exact_match("A red ball.", ["a blue ball", "red ball"])
    assert not exact_match("a red ball and a cat", ["a red ball"])


def test_vqa_score_leaves_each_annotator_out() -> None:
    assert vqa_score("cat", ["cat"] * 3 + ["dog"] * 7) == pytest.approx((3 * 2 / 3 + 7) / 10)
    assert vqa_score("cat", ["cat"] * 4 + ["dog"] * 6) == 1
    assert vqa_score("cow", ["cat"] * 10) == 0
    assert vqa_score("cat", ["cat"]) == 1


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        ("Yes, there is.", "yes"),
        ("No.", "no"),
        ("There isn't any", "no"),
        ("It is not there", "no"),
        ("Yes. Nothing else, no.", "yes"),
        ("a notebook", "yes"),
    ],
)
def test_yes_or_no(reply, read) -> None:
    assert yes_or_no(reply) == read


def test_pope_figures() -> None:
    pairs = [("yes", "yes"), ("yes", "no"), ("no", "yes"), ("no", "no"), ("no", "no")]
    found = pope_figures(pairs)
    assert found == {"accuracy": 0.6, "precision": 0.5, "recall": 0.5, "f1": 0.5, "yes_ratio": 0.4}
    assert pope_figures([("yes", "no")])["f1"] == 0


@pytest.mark.parametrize(
    ("reply", "option"),
    [
        ("B", 1),
        ("(B)", 1),
        ("B. a cat", 1),
        ("The answer is B.", 1),
        ("a cat", 1),
        ("A cat", 1),
        ("A", 0),
        ("D", None),
        ("perhaps", None),
    ],
)
def test_letter(reply, option) -> None:
    assert letter(reply, ["a dog", "a cat", "a cow"]) == option


def test_iou() -> None:
    assert iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert iou((0, 0, 1, 1), (2, 2, 3, 3)) == iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_edit_distance_of_known_pairs() -> None:
    pairs = [("kitten", "sitting"), ("flaw", "lawn"), ("", "abc"), ("abc", ""), ("same", "same"), ("ab", "ba")]
    assert [edit_distance(*pair) for pair in pairs] == [3, 2, 3, 3, 0, 2]


@given(WORDS, WORDS, WORDS)
def test_edit_distance_is_a_distance(one, other, third) -> None:
    found = edit_distance(one, other)
    assert found == edit_distance(other, one) and (found == 0) == (one == other)
    assert abs(len(one) - len(other)) <= found <= max(len(one), len(other))
    assert found <= edit_distance(one, third) + edit_distance(third, other)


@pytest.mark.parametrize(
    ("reply", "answers", "score"),
    [
        ("0.28", ["0.28"], 1.0),
        ("0.29", ["0.28"], 0.75),
        ("Philip  MORRIS\n", ["philip morris"], 1.0),
        ("ab", ["ac"], 0.5),  # a half counts
        ("abc", ["axy"], 0.0),  # a third does not
        ("two", ["one", "two!"], 0.75),  # the most similar answer
        ("", ["a"], 0.0),
        ("", [""], 1.0),
        ("a", [], 0.0),
    ],
)
def test_anls(reply, answers, score) -> None:
    assert anls(reply, answers) == pytest.approx(score)


@pytest.mark.parametrize(
    ("reply", "answer", "right"),
    [
        ("105", "100", True),
        ("106", "100", False),
        ("95", "100", True),
        ("94.9", "100", False),
        ("-100", "100", False),
        ("-96", "-100", True),
        ("14%", "0.14", True),
        ("14", "14%", False),  # as published
        ("14 %", "14%", True),
        ("2011", "2014", True),  # as published: years are numbers
        ("0", "0", True),
        ("0.0", "0", False),  # 5 % of nothing: the strings are compared
        ("1,000", "1000", False),
        ("1e3", "1000", True),
        (".5", "0.5", True),
        ("YES ", "Yes", True),
        ("Yes.", "Yes", False),
        ("14", "fourteen", False),
        ("about 14", "14", False),
    ],
)
def test_relaxed_match(reply, answer, right) -> None:
    assert relaxed_match(reply, answer) == right


def test_contains_answer() -> None:
    assert contains_answer("The sign says STOP.", ["stop"]) and contains_answer("a\nb", ["A B"])
    assert not contains_answer("The sign says go.", ["stop", "halt"]) and contains_answer("HALT", ["stop", "halt"])
    assert contains_answer("x ^ {2}", ["x^{2}"], exact=True) and not contains_answer("X^{2}", ["x^{2}"], exact=True)
    assert not contains_answer("x ^ {2}", ["x^{2}"])
