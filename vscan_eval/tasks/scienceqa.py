"""ScienceQA, the questions with a picture (Lu et al. 2022, arXiv:2209.09513).

Files: problems.json and pid_splits.json from data/scienceqa of github.com/lupantech/ScienceQA, and its pictures as
images/test/NUMBER/image.png.
"""

from __future__ import annotations

from vscan_eval.files import (
    ANSWER_LETTER,
    OPTION_LETTERS,
    find_picture,
    grouped_by_picture,
    json_entries,
    opener,
    with_options,
)
from vscan_eval.metrics import letter
from vscan_eval.task import Item, Task


class ScienceQa(Task):
    """ScienceQA-IMG: the 2,017 test questions that have a picture. Published: accuracy."""

    name = "scienceqa"
    metric = "accuracy, as published (IMG)"
    suffix = ANSWER_LETTER
    max_new_tokens = 16

    def items(self) -> list[Item]:
        """Kinds are subjects; the hint, if there is one, comes first."""
        folder = self.folder("problems.json, pid_splits.json and the pictures as images/test/NUMBER/image.png")
        with json_entries(folder / "pid_splits.json", "pid_splits.json of ScienceQA") as splits:
            test_ids = splits["test"]
        found = []
        with json_entries(folder / "problems.json", "problems.json of ScienceQA") as problems:
            for name in test_ids:
                row = problems[name]
                if row["image"] is None:
                    continue
                hint = f"Context: {row['hint']}\n" if row["hint"] else ""
                found.append(
                    Item(
                        name,
                        name,
                        opener(find_picture(folder, f"{name}/{row['image']}", "images/test", "test", "images")),
                        hint + with_options(row["question"], row["choices"]),
                        (OPTION_LETTERS[row["answer"]],),
                        row.get("subject", "all"),
                        {"options": tuple(row["choices"])},
                    )
                )
        return grouped_by_picture(found)

    def score(self, item: Item, reply: str) -> float:
        """Whether the reply names the right option, by letter or by its text."""
        return float(letter(reply, item.extra["options"]) == OPTION_LETTERS.index(item.answers[0]))
