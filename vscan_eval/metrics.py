"""Scores of one reply, and the figures that benchmarks publish over many. Pure functions on strings and numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

ARTICLES = frozenset(("a", "an", "the"))
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER_WORDS = {"none": "0"} | {word: str(number) for number, word in enumerate(DIGITS)}
LEAST_SIMILARITY = 0.5  # of ANLS: less is another answer, not one that was misread
RELAXED_SHARE = 0.05  # of the true number, by which ChartQA's relaxed accuracy lets a reply differ
REFUSALS = frozenset(("no", "not", "n't"))

Corners = Sequence[float]  # x0, y0, x1, y1


def normalise(text: str) -> str:
    """Lower case, no punctuation, no articles, number words as digits. "The two cats." -> "2 cats".

    As in the VQA evaluation (Antol et al. 2015), but apostrophes are removed on both sides instead of restored, so
    "dont" equals "don't". Commas inside numbers are removed, decimal points kept: "1,000" -> "1000", "2.5" -> "2.5".
    """
    lowered = re.sub(r"(?<=\d),(?=\d)", "", text.lower().replace("'", "").replace("\u2019", ""))
    tokens = re.sub(r"(?<!\d)\.|\.(?!\d)|[^\w\s.]|_", " ", lowered).split()
    return " ".join(_NUMBER_WORDS.get(word, word) for word in tokens if word not in ARTICLES)


def exact_match(reply: str, answers: Sequence[str]) -> bool:
    """Whether the reply is one of the answers, both normalised."""
    said = normalise(reply)
    return any(said == normalise(answer) for answer in answers)


def vqa_score(reply: str, answers: Sequence[str]) -> float:
    """VQA soft score: each annotator in turn is left out, and min(1, agreeing others / 3) is averaged.

    Ten answers of which four agree with the reply: 4 times min(1, 3/3), 6 times min(1, 4/3) = 1. One answer: 0 or 1.
    """
    if len(answers) == 1:
        return float(exact_match(reply, answers))
    agreeing = [normalise(answer) == normalise(reply) for answer in answers]
    return sum(min(1.0, (sum(agreeing) - mine) / 3) for mine in agreeing) / len(agreeing)


def anls(reply: str, answers: Sequence[str]) -> float:
    """Average normalised Levenshtein similarity of one reply (Biten et al. 2019): to the most similar answer, 0 to 1.

    1 - edits / length of the longer string, up to case and repeated blanks; below a half 0. "0.29" for "0.28" -> 0.75.
    A half itself counts, as in the script behind published figures; the formula in the paper gives 0.
    """
    return max((_similarity(_folded(reply), _folded(answer)) for answer in answers), default=0.0)


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def _similarity(one: str, other: str) -> float:
    found = 1 - edit_distance(one, other) / max(len(one), len(other), 1)
    return found if found >= LEAST_SIMILARITY else 0.0


def edit_distance(one: str, other: str) -> int:
    """Fewest insertions, deletions and replacements of characters (Levenshtein). "kitten", "sitting" -> 3."""
    row = list(range(len(other) + 1))
    for number, letter_of_one in enumerate(one, 1):
        before, row[0] = row[0], number
        for place, letter_of_other in enumerate(other, 1):
            edits = min(row[place] + 1, row[place - 1] + 1, before + (letter_of_one != letter_of_other))
            before, row[place] = row[place], edits
    return row[-1]


def relaxed_match(reply: str, answer: str) -> bool:
    """ChartQA's relaxed accuracy: numbers may differ by 5 % of the answer, everything else must be equal up to case.

    As in the published figures: "14%" is 0.14, not 14; years are numbers, so 2011 passes for 2014; if the answer is 0
    or no number, the strings are compared; "1,000" is no number.
    """
    said, truth = _number(reply), _number(answer)
    if said is not None and truth:
        return abs(said - truth) / abs(truth) <= RELAXED_SHARE
    return reply.strip().lower() == answer.strip().lower()


def _number(text: str) -> float | None:
    found = re.fullmatch(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(%?)", text.strip())
    return None if found is None else float(found[1]) / (100 if found[2] else 1)


def contains_answer(reply: str, answers: Sequence[str], exact: bool = False) -> bool:
    """OCRBench's rule: an answer is part of the reply, up to case. With `exact` case counts and blanks do not."""
    return any(_contained(answer, exact) in _contained(reply, exact) for answer in answers)


def _contained(text: str, exact: bool) -> str:
    joined = text.strip().replace("\n", " ")
    return joined.replace(" ", "") if exact else joined.lower()


def yes_or_no(reply: str) -> str:
    """ "yes" or "no", as POPE (Li et al. 2023) reads replies: a "no" or "not" in the first sentence, else "yes"."""
    first = reply.split(".")[0].lower().replace("n't", " n't")
    return "no" if REFUSALS & set(re.findall(r"[\w']+", first)) else "yes"


def pope_figures(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Accuracy, precision, recall, F1 and share of "yes"; pairs are (truth, reply), "yes" is the positive class.

    A ratio with a zero denominator is 0.
    """
    read = [(truth == "yes", yes_or_no(reply) == "yes") for truth, reply in pairs]
    both = sum(truth and said for truth, said in read)
    precision = _ratio(both, sum(said for _, said in read))
    recall = _ratio(both, sum(truth for truth, _ in read))
    return {
        "accuracy": _ratio(sum(truth == said for truth, said in read), len(read)),
        "precision": precision,
        "recall": recall,
        "f1": _ratio(2 * precision * recall, precision + recall),
        "yes_ratio": _ratio(sum(said for _, said in read), len(read)),
    }


def letter(reply: str, options: Sequence[str]) -> int | None:
    """Which option a multiple-choice reply names, by letter or by its whole text; None if it names none or several.

    "B", "(B)", "B. a cat", "The answer is B." -> 1; "a cat" -> the index of the option "a cat".
    """
    stripped = reply.strip()
    letters = "ABCDEFGHIJ"[: len(options)]
    patterns = (rf"\(?([{letters}])\)?(?:[.:,)\s]|$)", rf".*\banswer(?: is)?:?\s*\(?([{letters}])\b")
    for pattern in patterns:
        if found := re.match(pattern, stripped):
            # "A cat" starts with a letter that is also a word; the options decide
            if found[1] == "A" and normalise(stripped) in [normalise(option) for option in options]:
                break
            return letters.index(found[1])
    said = [number for number, option in enumerate(options) if normalise(option) == normalise(stripped)]
    return said[0] if len(said) == 1 else None


def iou(one: Corners, other: Corners) -> float:
    """Intersection over union of two boxes; 0 if they are disjoint or empty."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    return _ratio(shared, _area(one) + _area(other) - shared)


def _area(box: Corners) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _ratio(above: float, below: float) -> float:
    return above / below if below else 0.0
