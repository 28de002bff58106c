"""POPE: is there a certain object in the picture, yes or no (Li et al. 2023, arXiv:2305.10355).

Files: coco_pope_adversarial.json, coco_pope_popular.json and coco_pope_random.json, one JSON object per line, from
output/coco of github.com/RUCAIBox/POPE, and the pictures of COCO val2014 that they name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from vscan_core.errors import InputError
from vscan_eval.files import ANSWER_SHORT, find_picture, grouped_by_picture, json_entries, opener
from vscan_eval.metrics import pope_figures, yes_or_no
from vscan_eval.task import Item, Task

_KINDS = ("adversarial", "popular", "random")
_EXPECTED = "coco_pope_adversarial.json, coco_pope_popular.json or coco_pope_random.json of POPE"


class Pope(Task):
    """All of the three files that are found. Published: the mean of their F1 scores."""

    name = "pope"
    metric = "accuracy; published is F1"
    suffix = ANSWER_SHORT

    def items(self) -> list[Item]:
        """Each question with a known "yes" or "no". Raises InputError if the folder has no file of POPE."""
        folder = self.folder(f"{_EXPECTED}, and the pictures in val2014/")
        files = {kind: folder / f"coco_pope_{kind}.json" for kind in _KINDS}
        found: list[Item] = []
        for kind, path in files.items():
            if path.is_file():
                with json_entries(path, _EXPECTED, lines=True) as rows:
                    found += [_item(row, kind, folder) for row in rows]
        if not found:
            raise InputError(f"there is no {_EXPECTED} in {folder}")
        return grouped_by_picture(found)

    def score(self, item: Item, reply: str) -> float:
        """Looks for a "no" or "not" in the first sentence."""
        return float(yes_or_no(reply) == item.answers[0])

    def figures(self, replies: Sequence[tuple[Item, str]]) -> dict[str, float]:
        """F1: the mean over the kinds that were asked, as published; the others over all questions."""
        by_kind: dict[str, list[tuple[str, str]]] = {}
        for item, reply in replies:
            by_kind.setdefault(item.kind, []).append((item.answers[0], reply))
        each = {f"f1_{kind}": pope_figures(pairs)["f1"] for kind, pairs in sorted(by_kind.items())}
        whole = pope_figures([pair for pairs in by_kind.values() for pair in pairs])
        return whole | {"f1": mean(each.values())} | each


def _item(row: dict[str, str], kind: str, folder: Path) -> Item:
    if row["label"] not in ("yes", "no"):
        raise ValueError(f"label {row['label']!r}")
    path = find_picture(folder, row["image"], "val2014", "images")
    return Item(f"{kind}-{row['question_id']}", row["image"], opener(path), row["text"], (row["label"],), kind)
