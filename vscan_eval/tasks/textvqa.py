"""TextVQA: questions whose answer is written in the picture (Singh et al. 2019, arXiv:1904.08920).

Files: TextVQA_0.5.1_val.json and the folder train_images/, from textvqa.org/dataset. LLaVA-1.5's published 58.2 was
measured with OCR words in the prompt: put its llava_textvqa_val_v051_ocr.jsonl (in LLaVA's eval.zip) beside the file,
and its prompts are used. Without it the question stands alone and LLaVA-1.5 scores lower, reduced or not.
"""

from __future__ import annotations

from pathlib import Path

from vscan_eval.files import (
    ANSWER_SHORT,
    find_picture,
    grouped_by_picture,
    json_entries,
    most_frequent_first,
    opener,
)
from vscan_eval.metrics import vqa_score
from vscan_eval.task import Item, Task

_FILE, OCR = "TextVQA_0.5.1_val.json", "llava_textvqa_val_v051_ocr.jsonl"
_EXPECTED = f"{_FILE} of TextVQA"
OCR_EXPECTED = f"{OCR} of LLaVA's eval.zip"
_OCR_PREFIX = "Reference OCR token: "


class TextVqa(Task):
    """The 5,000 validation questions with ten answers each. Published: VQA soft score."""

    name = "textvqa"
    metric = "VQA soft score, as published"
    suffix = ANSWER_SHORT

    def items(self) -> list[Item]:
        """Kinds say whether the prompt holds OCR words."""
        folder = self.folder(f"{_FILE} and the pictures in train_images/")
        ocr = _reference_words(folder / OCR) if (folder / OCR).is_file() else {}
        with json_entries(folder / _FILE, _EXPECTED) as content:
            return grouped_by_picture(_item(row, ocr, folder) for row in content["data"])

    def score(self, item: Item, reply: str) -> float:
        """Agreement with the ten annotators."""
        return vqa_score(reply, item.answers)


def _item(row: dict[str, object], ocr: dict[tuple[str, str], str], folder: Path) -> Item:
    image, question = str(row["image_id"]), str(row["question"])
    reference = ocr.get((image, question.lower()))
    answers = row["answers"]
    if not isinstance(answers, list) or not answers:
        raise ValueError("no answers: the test set has none")
    return Item(
        f"{row['question_id']}{'' if reference is None else '-ocr'}",  # another prompt is another question
        image,
        opener(find_picture(folder, f"{image}.jpg", "train_images", "images")),
        question if reference is None else f"{question}\n{reference}",
        most_frequent_first(answers),
        "without OCR words" if reference is None else "with OCR words",
    )


def _reference_words(path: Path) -> dict[tuple[str, str], str]:
    """(picture, question in lower case) -> the line with OCR words, from prompts of question, words and suffix."""
    found: dict[tuple[str, str], str] = {}
    with json_entries(path, OCR_EXPECTED, lines=True) as rows:
        for row in rows:
            question, *rest = row["text"].split("\n")
            for line in rest:
                if line.startswith(_OCR_PREFIX):
                    found[row["question_id"], question.lower()] = line
    return found
