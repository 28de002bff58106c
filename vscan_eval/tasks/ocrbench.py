"""OCRBench: reading words, signs, documents, forms and formulas (Liu et al. 2023, arXiv:2305.07895).

Files: OCRBench.json and the folder OCRBench_Images/, from github.com/Yuliang-Liu/MultimodalOCR (OCRBench, not v2).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vscan_eval.files import find_picture, grouped_by_picture, json_entries, opener
from vscan_eval.metrics import contains_answer
from vscan_eval.task import Item, Task

_FILE = "OCRBench.json"
_EXPECTED = f"{_FILE} of OCRBench"
_FORMULAS = "HME100k"  # the set whose answers are LaTeX: case counts, blanks do not


class OcrBench(Task):
    """All 1,000 questions. Published: how many are right."""

    name = "ocrbench"
    metric = "answer contained; published is the score of 1,000"
    max_new_tokens = 100

    def items(self) -> list[Item]:
        """Kinds are OCRBench's ten types. Asked as they stand: the questions say themselves how to answer."""
        folder = self.folder(f"{_FILE} and the pictures in OCRBench_Images/")
        with json_entries(folder / _FILE, _EXPECTED) as rows:
            return grouped_by_picture(_ocr_item(number, row, folder) for number, row in enumerate(rows))

    def score(self, item: Item, reply: str) -> float:
        """Whether the reply contains an answer."""
        return float(contains_answer(reply, item.answers, exact=item.extra["formula"]))

    def figures(self, replies: Sequence[tuple[Item, str]]) -> dict[str, float]:
        """The score: the number of right replies, at most 1,000."""
        return {"score": sum(self.score(item, reply) for item, reply in replies)}


def _ocr_item(number: int, row: dict[str, object], folder: Path) -> Item:
    image, answers = str(row["image_path"]), row["answers"]
    accepted = [str(answer) for answer in answers] if isinstance(answers, list) else [str(answers)]
    if not all(answer.strip() for answer in accepted) or not accepted:
        raise ValueError("an empty answer, which every reply contains")
    return Item(
        str(number),  # the file's own ids count within each of its sources
        image,
        opener(find_picture(folder, image, "OCRBench_Images", "images")),
        str(row["question"]),
        tuple(accepted),
        str(row["type"]),
        {"formula": row["dataset_name"] == _FORMULAS},
    )
