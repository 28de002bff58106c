"""Scores against examples worked out by hand."""

from __future__ import annotations

import pytest

from vscan_eval.metrics import exact_match, iou, letter, normalise, pope_figures, vqa_score, yes_or_no


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
