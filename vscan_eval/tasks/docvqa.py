"""DocVQA: questions about scanned documents of one page (Mathew et al. 2021, arXiv:2007.00398).

Files: val_v1.0_withQT.json (or the older val_v1.0.json) and the folder spdocvqa_images/ (or documents/), after
registration at rrc.cvc.uab.es/?ch=17 (Task 1). The answers to the test set are only on the server.
"""

from __future__ import annotations

from pathlib import Path

from vscan_eval.files import ANSWER_SHORT, find_picture, grouped_by_picture, json_entries, most_frequent_first, opener
from vscan_eval.metrics import anls
from vscan_eval.task import Item, Task

_FILES = ("val_v1.0_withQT.json", "val_v1.0.json")  # the first one also has types of questions
_EXPECTED = f"{_FILES[0]} or {_FILES[1]} of DocVQA"


class DocVqa(Task):
    """The 5,349 validation questions. Published: ANLS, mostly on the test set."""

    name = "docvqa"
    metric = "ANLS, as published"
    suffix = ANSWER_SHORT

    def items(self) -> list[Item]:
        """Kinds are the first type of each question, if the file has them."""
        folder = self.folder(f"{_EXPECTED} and the pictures in spdocvqa_images/ or documents/")
        path = next((path for name in _FILES if (path := folder / name).is_file()), folder / _FILES[0])
        with json_entries(path, _EXPECTED) as content:
            return grouped_by_picture(_question(row, folder) for row in content["data"])

    def score(self, item: Item, reply: str) -> float:
        """Similarity of the strings, 0 below a half; a final full stop counts as a difference."""
        return anls(reply, item.answers)


def _question(row: dict[str, object], folder: Path) -> Item:
    answers, types, image = row["answers"], row.get("question_types"), str(row["image"])
    if not isinstance(answers, list) or not answers:
        raise ValueError("no answers: the test set has none")
    return Item(
        str(row["questionId"]),
        image,
        opener(find_picture(folder, image, "spdocvqa_images", "documents", "images")),
        str(row["question"]),
        most_frequent_first([str(answer) for answer in answers]),
        str(types[0]) if isinstance(types, list) and types else "all",
    )
