"""Questions about drawn scenes: the frozen set, or new scenes from a seed. Nothing is downloaded.

Training used scenes from seed 1,000,000 on; everything here is below it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import count

import numpy as np
from PIL import Image

from vscan_core.catalog import ASSETS
from vscan_core.errors import InputError
from vscan_core.evaluation.task import Item, Task
from vscan_core.world.drawing import draw
from vscan_core.world.questions import TYPES, Question, draw_questions
from vscan_core.world.scene import sample_scene

FROZEN = ASSETS / "world" / "frozen.jsonl"
FIRST_TRAINING_SEED = 1_000_000
EACH = 10  # questions per scene, at most: none is asked twice
EVEN_MIX = dict.fromkeys(TYPES, 1.0)


class World(Task):
    """2,000 frozen questions; with a seed, as many new ones."""

    name = "world"
    size = 2000

    def items(self) -> Iterator[Item]:
        """The frozen set, or without end new scenes from `seed` on."""
        if self.seed is None and FROZEN.exists():
            yield from frozen()
        else:
            yield from generated(0 if self.seed is None else self.seed)

    def ordered(self) -> Iterable[Item]:
        """In order: the seed chooses scenes here and shuffles nothing."""
        return self.items()


def generated(seed: int) -> Iterator[Item]:
    """Items about scene `seed`, `seed` + 1 and so on."""
    for number in count(seed):
        if not 0 <= number < FIRST_TRAINING_SEED:
            raise InputError(f"--seed must be from 0 to {FIRST_TRAINING_SEED - 1:,}: later scenes were trained on")
        rng = np.random.default_rng([number, 99])
        questions = {q.text: q for q in draw_questions(sample_scene(number), EVEN_MIX, EACH, rng)}
        yield from (item(number, place, question) for place, question in enumerate(questions.values()))


def frozen() -> Iterator[Item]:
    """The frozen set, read from its file."""
    place: dict[int, int] = {}
    for line in FROZEN.read_text().splitlines():
        row = json.loads(line)
        number = row["seed"]
        place[number] = place.get(number, -1) + 1
        yield item(number, place[number], Question(row["kind"], row["question"], row["answer"]))


def item(seed: int, place: int, question: Question) -> Item:
    """Question number `place` about scene `seed`."""
    return Item(
        f"{seed}-{place}", str(seed), partial(picture, seed), question.text, (question.answer,), kind=question.kind
    )


def picture(seed: int) -> Image.Image:
    """Scene `seed`, drawn."""
    return Image.fromarray(draw(sample_scene(seed)).pixels)
