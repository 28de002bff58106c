"""GQA: compositional questions about real pictures (Hudson and Manning 2019, arXiv:1902.09506).

Files: testdev_balanced_questions.json and the folder images/, from cs.stanford.edu/people/dorarad/gqa/download.html.
"""

from __future__ import annotations

from vscan_eval.files import ANSWER_SHORT, find_picture, grouped_by_picture, json_entries, opener
from vscan_eval.task import Item, Task

_FILE = "testdev_balanced_questions.json"
_EXPECTED = f"{_FILE} of GQA"


class Gqa(Task):
    """The balanced test-dev questions, 12,578 of them. Published: accuracy."""

    name = "gqa"
    metric = "exact match, as published"
    suffix = ANSWER_SHORT
    max_new_tokens = 16

    def items(self) -> list[Item]:
        """One answer each; kinds are GQA's structural types."""
        folder = self.folder(f"{_FILE} and the pictures in images/")
        with json_entries(folder / _FILE, _EXPECTED) as rows:
            return grouped_by_picture(
                Item(
                    name,
                    row["imageId"],
                    opener(find_picture(folder, f"{row['imageId']}.jpg", "images")),
                    row["question"],
                    (row["answer"],),
                    row.get("types", {}).get("structural", "all"),
                )
                for name, row in rows.items()
            )

    def score(self, item: Item, reply: str) -> float:
        """Equal strings, up to case and a final full stop; articles and number words count."""
        return float(reply.strip().rstrip(".").lower() == item.answers[0].lower())
