"""VizWiz: pictures and spoken questions of blind people (Gurari et al. 2018, arXiv:1802.08218).

Files: val.json (Annotations) and the folder val/ (Images), from vizwiz.org/tasks-and-datasets/vqa. Published tables
mostly give test-dev, whose answers only the server knows: val is comparable between methods, not with those tables.
"""

from __future__ import annotations

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


class VizWiz(Task):
    """The 4,319 validation questions with ten answers each. Published: VQA soft score."""

    name = "vizwiz"
    metric = "VQA soft score"
    suffix = f"When the provided information is insufficient, respond with 'Unanswerable'.\n{ANSWER_SHORT}"

    def items(self) -> list[Item]:
        """Kinds are VizWiz's answer types."""
        folder = self.folder("val.json and the pictures in val/")
        with json_entries(folder / "val.json", "val.json of VizWiz-VQA") as rows:
            return grouped_by_picture(
                Item(
                    row["image"],
                    row["image"],
                    opener(find_picture(folder, row["image"], "val", "images")),
                    row["question"],
                    most_frequent_first([answer["answer"] for answer in row["answers"]]),
                    row.get("answer_type", "all"),
                )
                for row in rows
            )

    def score(self, item: Item, reply: str) -> float:
        """Agreement with the ten annotators."""
        return vqa_score(reply, item.answers)
