"""MME: two yes-or-no questions per picture in 14 categories (Fu et al. 2023, arXiv:2306.13394).

Files: the folder MME_Benchmark (sent by the authors, see github.com/BradyFU/Awesome-Multimodal-Large-Language-Models):
one folder per category, which holds NAME.jpg or NAME.png and NAME.txt side by side, or in images/ and
questions_answers_YN/. Each line of a text file is a question, a tab, and Yes or No.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

from vscan_core.errors import InputError
from vscan_eval.files import ANSWER_SHORT, checked_entries, opener
from vscan_eval.task import Item, Task

PERCEPTION = (
    *("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR"),
)
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
_EXPECTED = "question, tab, Yes or No on each line, as in MME"
ORIGINAL_SUFFIX = " Please answer yes or no."  # in the files; LLaVA-1.5 asks for a single word instead
PICTURES = (".jpg", ".jpeg", ".png", ".JPG", ".PNG")


class Mme(Task):
    """All categories found. Published: per category, accuracy % + % of pictures with both answers right; summed."""

    name = "mme"
    metric = "accuracy; published is the score"
    suffix = ANSWER_SHORT
    max_new_tokens = 16

    def items(self) -> list[Item]:
        """Kinds are categories. Raises InputError if the folder has none."""
        folder = self.folder("MME's category folders (existence, count, ... code_reasoning)")
        kinds = [kind for kind in (*PERCEPTION, *COGNITION) if (folder / kind).is_dir()]
        found = [item for kind in kinds for item in _category(folder / kind)]
        if not found:
            raise InputError(f"there is no category of MME with questions in {folder}: it should hold existence/ ...")
        return found

    def score(self, item: Item, reply: str) -> float:
        """Looks for yes or no in the first four characters, like MME's own script."""
        return float(_read(reply) == item.answers[0])

    def figures(self, replies: Sequence[tuple[Item, str]]) -> dict[str, float]:
        """Perception (at most 2000), cognition (at most 800) and their sum.

        A picture of which only one question was asked counts towards accuracy alone.
        """
        right: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for item, reply in replies:
            right[item.kind][item.picture].append(self.score(item, reply))
        scores = {kind: _points(list(pictures.values())) for kind, pictures in right.items()}
        perception = sum(score for kind, score in scores.items() if kind in PERCEPTION)
        return {"score": sum(scores.values()), "perception": perception, "cognition": sum(scores.values()) - perception}


def _points(pictures: list[list[float]]) -> float:
    both = [min(pair) for pair in pictures if len(pair) > 1]
    return 100 * mean(score for pair in pictures for score in pair) + (100 * mean(both) if both else 0.0)


def _read(reply: str) -> str:
    start = reply.strip().lower()[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


def _category(folder: Path) -> Iterator[Item]:
    apart = folder / "questions_answers_YN"
    texts, pictures = (apart, folder / "images") if apart.is_dir() else (folder, folder)
    for text in sorted(texts.glob("*.txt")):
        picture = next((path for end in PICTURES if (path := pictures / f"{text.stem}{end}").is_file()), None)
        if picture is None:
            raise InputError(f"there is no picture {text.stem}.jpg or .png in {pictures} for {text.name}")
        name = f"{folder.name}/{text.stem}"
        with checked_entries(text, _EXPECTED):
            lines = [line for line in text.read_text(encoding="utf-8").splitlines() if line.strip()]
            rows = [line.rsplit("\t", 1) for line in lines]
            for number, (question, truth) in enumerate(rows):
                answer = {"yes": "yes", "no": "no"}[truth.strip().lower().rstrip(".")]
                wording = question.strip().removesuffix(ORIGINAL_SUFFIX.strip()).strip()
                yield Item(f"{name}-{number}", name, opener(picture), wording, (answer,), folder.name)
