"""What is asked, and how replies are scored; a task knows neither models nor methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from vscan_core.errors import InputError
from vscan_core.questions import History
from vscan_eval.metrics import exact_match, normalise


@dataclass(frozen=True)
class Item:
    """One question about one picture."""

    id: str  # unique within the task, the same in every run
    picture: str  # its name; items with the same name show the same picture and form one cluster
    open: Callable[[], Image.Image]  # reads or draws it when needed
    question: str  # without the task's suffix
    answers: tuple[str, ...]  # the accepted ones, the most usual first
    kind: str = "all"  # results are also reported per kind
    extra: Mapping[str, Any] = field(default_factory=dict)  # what else scoring needs, e.g. options or a box
    history: History = ()  # the turn before it, as asked and answered


class Task(ABC):
    """A set of items in a fixed order. Items of one picture are adjacent, so that it is encoded once.

    data: folder (or file) with the published files. seed: chooses the scenes of the drawn world; shuffles the pictures
    of other tasks.
    """

    name: str
    metric = "exact match"  # in words, for tables
    suffix = ""  # follows every question, e.g. how to answer
    max_new_tokens = 32
    size: int | None = None  # questions asked if no limit is given; None = all
    second_turn = False  # whether each question follows another one about its picture, with the reference answer
    no_second_turn = ""  # why that is not possible
    groups: Mapping[str, Sequence[str]] = MappingProxyType({})  # kinds that are also reported together, by name

    def __init__(self, data: Path | None = None, seed: int | None = None) -> None:
        self.data, self.seed = data, seed

    @abstractmethod
    def items(self) -> Iterable[Item]:
        """Every item, in the task's own order. Raises InputError if files are missing or wrong."""

    def prompt(self, item: Item) -> str:
        """What the model is asked."""
        return f"{item.question}\n{self.suffix}" if self.suffix else item.question

    def score(self, item: Item, reply: str) -> float:
        """0 (wrong) to 1 (right)."""
        return float(exact_match(reply, item.answers))

    def figures(self, replies: Sequence[tuple[Item, str]]) -> dict[str, float]:
        """Further published figures over all replies, e.g. F1; {} if there is only accuracy."""
        return {}

    def ordered(self) -> Iterable[Item]:
        """The items in the order of asking: with a seed, the pictures are shuffled."""
        if self.seed is None:
            return self.items()
        groups = [list(group) for _, group in groupby(self.items(), key=lambda item: item.picture)]
        order = np.random.default_rng(self.seed).permutation(len(groups))
        return [item for number in order for item in groups[number]]

    def chosen(self, limit: int | None = None) -> list[Item]:
        """The first `limit` items; None: `size` of them. Raises InputError if there are none, or if ids repeat."""
        if limit is not None and limit < 1:
            raise InputError(f"--limit must be at least 1 question, but is {limit}")
        if self.second_turn and self.no_second_turn:
            raise InputError(f"{self.no_second_turn}; leave out --second-turn")
        ordered = self._as_second_turns(self.ordered()) if self.second_turn else self.ordered()
        items = list(islice(ordered, limit or self.size))
        if not items and self.second_turn:
            raise InputError(f"no picture of the task {self.name} has two questions; leave out --second-turn")
        if not items:
            raise InputError(f"the task {self.name} found no questions{f' in {self.data}' if self.data else ''}")
        names = Counter(item.id for item in items)
        if twice := [name for name, count in names.items() if count > 1]:
            raise InputError(f"the task {self.name} has several questions with the id {twice[0]!r}; ids must differ")
        return items

    def _as_second_turns(self, items: Iterable[Item]) -> Iterator[Item]:
        """Each after the first question of another kind about its picture, or the first other one if all are alike.

        Questions of one kind may be the same in other words, and the answer would be in the history. A question about
        whose picture nothing else is asked is left out.
        """
        for _, group in groupby(items, key=lambda item: item.picture):
            listed = list(group)
            for item in listed:
                others = [other for other in listed if other.question != item.question]
                if before := [other for other in others if other.kind != item.kind] or others:
                    yield replace(item, history=((self.prompt(before[0]), before[0].answers[0]),))

    def folder(self, hint: str) -> Path:
        """`data`, which this task needs; `hint` describes what is in it. Raises InputError if it is missing."""
        if self.data is None:
            raise InputError(f"the task {self.name} reads local files: give --data FOLDER, which holds {hint}")
        if not self.data.exists():
            raise InputError(f"there is nothing at {self.data}; the task {self.name} expects {hint} there")
        return self.data


def majority(task: Task, items: Iterable[Item]) -> dict[str, float]:
    """{item id: score of always giving the most frequent answer of its kind}, counted on these same items.

    So no other fixed answer per kind would be right more often. With few items this overestimates guessing.
    """
    alike: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    listed = list(items)
    for item in listed:
        alike[item.kind][normalise(item.answers[0])].append(item.answers[0])
    usual = {kind: max(answers.values(), key=len)[0] for kind, answers in alike.items()}
    return {item.id: task.score(item, usual[item.kind]) for item in listed}
