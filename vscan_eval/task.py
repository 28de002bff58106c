"""What is asked and how replies are scored; a task knows no model and no method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vscan_core.errors import InputError
from vscan_eval.metrics import exact_match, normalise


@dataclass(frozen=True)
class Item:
    """One question about one picture."""

    id: str  # unique within the task, the same in every run
    picture: str  # name of the picture; items with the same name show the same one and count as one cluster
    open: Callable[[], Image.Image]  # reads or draws it, only when it is needed
    question: str  # without the task's suffix
    answers: tuple[str, ...]  # right ones; the first one is the usual one
    kind: str = "all"  # results are also given per kind
    extra: Mapping[str, Any] = field(default_factory=dict)  # what scoring needs besides, e.g. options or a box


class Task(ABC):
    """A set of items in a fixed order. Items of one picture follow each other, so that it is seen once.

    data: folder (or file) with the published files. seed: of the world, which scenes; of files, which order.
    """

    name: str
    metric = "exact match"  # in words, for tables
    suffix = ""  # said after every question, e.g. how to answer
    max_new_tokens = 32
    size: int | None = None  # how many questions if no limit is given; None = all there are

    def __init__(self, data: Path | None = None, seed: int | None = None) -> None:
        self.data, self.seed = data, seed

    @abstractmethod
    def items(self) -> Iterable[Item]:
        """Every item, in the task's own order. InputError, one sentence, if files are missing or wrong."""

    def prompt(self, item: Item) -> str:
        """What the model is asked."""
        return f"{item.question}\n{self.suffix}" if self.suffix else item.question

    def score(self, item: Item, reply: str) -> float:
        """0 (wrong) to 1 (right)."""
        return float(exact_match(reply, item.answers))

    def figures(self, replies: Sequence[tuple[Item, str]]) -> dict[str, float]:
        """Further published figures over all replies, e.g. F1; {} if accuracy is all."""
        return {}

    def ordered(self) -> Iterable[Item]:
        """The items in the order in which they are asked: with a seed, pictures are shuffled."""
        if self.seed is None:
            return self.items()
        groups = [list(group) for _, group in groupby(self.items(), key=lambda item: item.picture)]
        order = np.random.default_rng(self.seed).permutation(len(groups))
        return [item for number in order for item in groups[number]]

    def chosen(self, limit: int | None = None) -> list[Item]:
        """The first `limit` items, at least one; None = `size`."""
        if limit is not None and limit < 1:
            raise InputError(f"--limit must be at least 1 question, but is {limit}")
        items = list(islice(self.ordered(), limit or self.size))
        if not items:
            raise InputError(f"the task {self.name} found no questions{f' in {self.data}' if self.data else ''}")
        names = Counter(item.id for item in items)
        if twice := [name for name, count in names.items() if count > 1]:
            raise InputError(f"the task {self.name} has several questions with the id {twice[0]!r}; ids must differ")
        return items

    def folder(self, hint: str) -> Path:
        """`data`, which this task cannot do without; `hint` says in words what is expected in it."""
        if self.data is None:
            raise InputError(f"the task {self.name} reads local files: give --data FOLDER, which holds {hint}")
        if not self.data.exists():
            raise InputError(f"there is nothing at {self.data}; the task {self.name} expects {hint} there")
        return self.data


def majority(task: Task, items: Iterable[Item]) -> dict[str, float]:
    """{item id: score of always giving the most frequent answer of its kind}, counted on these very items.

    So no constant reply per kind does better; on few items that flatters guessing, never the model.
    """
    alike: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    listed = list(items)
    for item in listed:
        alike[item.kind][normalise(item.answers[0])].append(item.answers[0])
    usual = {kind: max(answers.values(), key=len)[0] for kind, answers in alike.items()}
    return {item.id: task.score(item, usual[item.kind]) for item in listed}
