"""Questions about drawn scenes: the frozen set, or new scenes from a seed. Nothing is downloaded.

Training used scenes from seed 1,000,000 on; everything here is below it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from types import MappingProxyType

import numpy as np
from PIL import Image

from vscan_core.errors import InputError
from vscan_core.resources import asset
from vscan_eval.metrics import normalise
from vscan_eval.task import Item, Task
from vscan_eval.world import Question, draw_questions, draw_scene, sample_scene
from vscan_eval.world.questions import SHORT_TYPES
from vscan_eval.world.scene import Split

FROZEN = asset("world", "frozen.jsonl")
FIRST_EVAL_SEED, FIRST_TRAINING_SEED = 100_000, 1_000_000
QUESTIONS_PER_SCENE = 10  # questions per scene, at most
QUESTION_MIX = dict.fromkeys(SHORT_TYPES, 1.0) | {"biggest": 5.0, "colour": 2.0, "sign": 2.0}  # these fit few scenes
# the nine places of a picture, asked for or given: the embedded model names places and prints no boxes
LOCATION = MappingProxyType({"location": ("where", "what_at", "side")})
ASKED_ONCE = frozenset(("background", "biggest", "describe", "sign"))  # one answer per scene, however it is asked


class World(Task):
    """2,000 frozen questions; with a seed, new ones."""

    name = "world"
    size = 2000
    split: Split = "standard"
    mix: Mapping[str, float] = QUESTION_MIX
    groups = LOCATION

    def items(self) -> Iterator[Item]:
        """The frozen set, or new scenes from `seed` on, of which there are nearly a million."""
        if self.seed is None and self.name == World.name:
            yield from frozen_items()
        else:
            yield from generated_items(FIRST_EVAL_SEED if self.seed is None else self.seed, self.split, self.mix)

    def ordered(self) -> Iterable[Item]:
        """In order: here the seed chooses the scenes and shuffles nothing."""
        return self.items()


class WorldStyle(World):
    """Things drawn in a style that the embedded model has never seen."""

    name = "world-style"
    split = "style"


class WorldCombos(World):
    """Shapes in colours that they never have in the training scenes."""

    name = "world-combos"
    split = "combos"


class WorldCaptions(World):
    """Descriptions. An exact match names every one, from left to right; the share of things named is also given."""

    name = "world-captions"
    mix: Mapping[str, float] = MappingProxyType({"describe": 1.0})
    no_second_turn = "world-captions asks one question about each picture"

    def figures(self, replies: Sequence[tuple[Item, str]]) -> dict[str, float]:
        """Share of the things in the pictures that the descriptions name, in any order."""
        pairs = [(listed(one.answers[0]), listed(reply)) for one, reply in replies if one.kind == "describe"]
        named, there = sum((truth & said).total() for truth, said in pairs), sum(truth.total() for truth, _ in pairs)
        return {"things named in descriptions": named / there} if there else {}


def generated_items(seed: int, split: Split = "standard", mix: Mapping[str, float] = QUESTION_MIX) -> Iterator[Item]:
    """Items about scene `seed`, `seed` + 1 and so on. Raises InputError at a scene that models are trained on."""
    for number in count(seed):
        if not 0 <= number < FIRST_TRAINING_SEED:
            raise InputError(f"--seed must be from 0 to {FIRST_TRAINING_SEED - 1:,}: later scenes were trained on")
        rng = np.random.default_rng([number, 99])
        drawn = draw_questions(sample_scene(number, split), mix, 2 * QUESTIONS_PER_SCENE, rng)
        questions = {q.kind if q.kind in ASKED_ONCE else q.text: q for q in drawn if q.kind in mix}
        for place, question in enumerate(list(questions.values())[:QUESTIONS_PER_SCENE]):
            yield item(number, place, question, split)


def frozen_items() -> Iterator[Item]:
    """The frozen set, read from its file."""
    place: dict[int, int] = {}
    for line in FROZEN.read_text().splitlines():
        row = json.loads(line)
        number = row["seed"]
        place[number] = place.get(number, -1) + 1
        yield item(number, place[number], Question(row["kind"], row["question"], row["answer"]), "standard")


def freeze() -> None:
    """Rewrite the frozen set; needed after a change of the world, because it refers to scenes by their seeds."""
    with FROZEN.open("w") as file:
        for _, made in zip(range(World.size or 0), generated_items(FIRST_EVAL_SEED), strict=False):
            row = {"seed": int(made.picture), "kind": made.kind, "question": made.question, "answer": made.answers[0]}
            file.write(json.dumps(row) + "\n")


def listed(text: str) -> Counter[str]:
    """ "a cat, a dog and a cat" -> cat twice, dog once."""
    return Counter(normalise(part) for part in re.split(r",\s*|\s+and\s+", text))


def item(seed: int, place: int, question: Question, split: Split) -> Item:
    """Question number `place` about scene `seed`."""
    drawn = partial(picture, seed, split)
    return Item(f"{seed}-{place}", str(seed), drawn, question.text, (question.answer,), question.kind)


def picture(seed: int, split: Split) -> Image.Image:
    """Scene `seed`, drawn."""
    return Image.fromarray(draw_scene(sample_scene(seed, split)).pixels)
