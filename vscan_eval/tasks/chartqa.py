"""ChartQA: questions about charts, written by people or made from captions (Masry et al. 2022, arXiv:2203.10244).

Files: test_human.json and test_augmented.json and the folder png/, from "ChartQA Dataset/test" of
github.com/vis-nlp/ChartQA.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from vscan_core.errors import InputError
from vscan_eval.files import ANSWER_SHORT, find_picture, grouped_by_picture, json_entries, opener
from vscan_eval.metrics import relaxed_match
from vscan_eval.task import Item, Task

_KINDS = ("human", "augmented")
_EXPECTED = "test_human.json or test_augmented.json of ChartQA"


class ChartQa(Task):
    """Both files that are found, 1,250 test questions each. Published: relaxed accuracy, the mean of both."""

    name = "chartqa"
    metric = "relaxed accuracy, as published"
    suffix = ANSWER_SHORT
    max_new_tokens = 16

    def items(self) -> list[Item]:
        """Kinds are "human" and "augmented". Raises InputError if the folder has no file of ChartQA."""
        folder = self.folder(f"{_EXPECTED}, and the pictures in png/")
        found: list[Item] = []
        for kind in _KINDS:
            path = folder / f"test_{kind}.json"
            if not path.is_file():
                continue
            with json_entries(path, _EXPECTED) as rows:
                for number, row in enumerate(rows):
                    picture = opener(find_picture(folder, row["imgname"], "png", "images"))
                    question, answer = str(row["query"]), str(row["label"])
                    found.append(Item(f"{kind}-{number}", row["imgname"], picture, question, (answer,), kind))
        if not found:
            raise InputError(f"there is no {_EXPECTED} in {folder}")
        return grouped_by_picture(found)

    def score(self, item: Item, reply: str) -> float:
        """Numbers within 5 %, other answers letter by letter, up to case."""
        return float(relaxed_match(reply, item.answers[0]))

    def figures(self, replies: Sequence[tuple[Item, str]]) -> dict[str, float]:
        """Relaxed accuracy of each file, and their mean, which is published."""
        by_kind: dict[str, list[float]] = {}
        for item, reply in replies:
            by_kind.setdefault(item.kind, []).append(self.score(item, reply))
        each = {f"relaxed_{kind}": mean(scores) for kind, scores in sorted(by_kind.items())}
        return {"relaxed": mean(each.values())} | each
