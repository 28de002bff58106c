"""MMBench: multiple choice, each question asked in every order of its options (Liu et al. 2023, arXiv:2307.06281).

File: mmbench_dev_20230712.tsv or another dev file with answers (MMBench_DEV_EN.tsv, ..._CN.tsv), from
github.com/open-compass/MMBench; the pictures are inside, in base64.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import mean

from PIL import Image

from vscan_core.errors import InputError
from vscan_core.media.images import as_rgb
from vscan_eval.files import ANSWER_LETTER, OPTION_LETTERS, checked_entries, grouped_by_picture, with_options
from vscan_eval.metrics import letter
from vscan_eval.task import Item, Task

COPIES = 1_000_000  # a question's other orders have its index plus multiples of this
LONGEST_INDEX = 64  # characters; a shorter "picture" is the index of the row that holds it
LETTER_CN = "\u8bf7\u76f4\u63a5\u56de\u7b54\u9009\u9879\u5b57\u6bcd\u3002"  # "please answer with the option's letter"
_COLUMNS = {"index", "question", "A", "B", "answer", "image"}
_EXPECTED = "a dev file of MMBench with the columns index, question, A, B, answer and image"


class MmBench(Task):
    """One dev file. Published: CircularEval, a question counts if it is answered correctly in every order."""

    name = "mmbench"
    metric = "accuracy; published is circular"
    suffix = ANSWER_LETTER
    no_second_turn = "the questions about a picture of mmbench are one in several orders"
    max_new_tokens = 16

    def items(self) -> list[Item]:
        """Kinds are categories. A file with "cn" in its name is asked in Chinese."""
        path = self._file()
        if "cn" in path.stem.lower():
            self.suffix = LETTER_CN
        pictures: dict[str, str] = {}  # index -> base64; copies share one string
        found = []
        with checked_entries(path, _EXPECTED):
            for row in _rows(path):
                known = pictures.get(str(int(row["index"]) % COPIES))
                pictures[row["index"]] = known if known == row["image"] else row["image"]
                found.append(_item(row, pictures))
        return grouped_by_picture(found)

    def score(self, item: Item, reply: str) -> float:
        """Whether the reply names the right option, by letter or by its text."""
        return float(letter(reply, item.extra["options"]) == OPTION_LETTERS.index(item.answers[0]))

    def figures(self, replies: Sequence[tuple[Item, str]]) -> dict[str, float]:
        """Circular: the share of questions that are right in every order that was asked."""
        right: dict[str, list[float]] = defaultdict(list)
        for item, reply in replies:
            right[item.picture].append(self.score(item, reply))
        return {"circular": mean(min(scores) for scores in right.values())}

    def _file(self) -> Path:
        data = self.folder("mmbench_dev_20230712.tsv, or is a dev file of MMBench itself")
        if data.is_file():
            return data
        files = sorted(data.glob("*.tsv"))
        if len(files) != 1:
            raise InputError(f"{data} holds {len(files)} .tsv files; give one dev file of MMBench itself as --data")
        return files[0]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows as dictionaries. Pictures are longer than what the csv module allows by default."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t")
            if not set(rows.fieldnames or ()) >= _COLUMNS:
                raise InputError(f"{path} is not {_EXPECTED}")
            yield from rows
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); it should be {_EXPECTED}") from None
    finally:
        csv.field_size_limit(before)


def _item(row: dict[str, str], pictures: dict[str, str]) -> Item:
    options: list[str] = []
    for mark in "ABCD":  # options end at the first empty one
        if _empty(row.get(mark)):
            break
        options.append(row[mark])
    if _empty(row.get("answer")) or row["answer"] not in OPTION_LETTERS[: len(options)]:
        raise InputError(f"question {row['index']} has no answer: test files have none, so use {_EXPECTED}")
    hint = "" if _empty(row.get("hint")) else f"{row['hint']}\n"
    image = row["image"]
    return Item(
        row["index"],
        str(int(row["index"]) % COPIES),
        partial(_decode, pictures[image] if len(image) <= LONGEST_INDEX and image in pictures else image, row["index"]),
        hint + with_options(row["question"], options),
        (row["answer"],),
        row.get("category") or "all",
        {"options": tuple(options)},
    )


def _empty(text: str | None) -> bool:
    return text is None or text.strip().lower() in ("", "nan", "none")


def _decode(text: str, index: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(base64.b64decode(text))) as image:
            return as_rgb(image)
    except (binascii.Error, OSError, SyntaxError, ValueError):
        raise InputError(f"the picture of question {index} is damaged; download the MMBench file again") from None
