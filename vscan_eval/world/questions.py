"""Questions about a scene and their true answers, in several phrasings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from vscan_eval.world.catalog import (
    BACKGROUNDS,
    CELLS,
    COUNT_WORDS,
    GROUP_OF,
    THING_KINDS,
    PictureCell,
    plural,
    with_article,
)
from vscan_eval.world.phrasings import PHRASINGS, RELATIONS, SIDES
from vscan_eval.world.scene import Scene, Thing

QUESTION_TYPES = tuple(PHRASINGS)
SHORT_TYPES = tuple(kind for kind in QUESTION_TYPES if kind != "describe")  # one right answer of a word or three
MOST_DESCRIBED = 4  # things in a picture for which a description is asked
CLEARLY = 1.4  # times the next one in width and height: the biggest thing
NO_THING = "nothing"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Question:
    """One question of a known type with its only right answer."""

    kind: str
    text: str
    answer: str


def make_question(scene: Scene, kind: str, rng: np.random.Generator) -> Question | None:
    """A random question of this kind, or None where the scene has no clear answer to it."""
    made = _MAKERS[kind](scene, rng)
    if made is None:
        return None
    slots, answer = made
    text = str(rng.choice(PHRASINGS[kind])).format(**slots)
    return Question(kind, text, answer)


def draw_questions(scene: Scene, weights: Mapping[str, float], count: int, rng: np.random.Generator) -> list[Question]:
    """`count` questions, kinds by weight; a kind that does not fit the scene is replaced by "is there"."""
    kinds = list(weights)
    share = np.array([weights[k] for k in kinds]) / sum(weights.values())
    found: list[Question] = []
    while len(found) < count:
        tries = (make_question(scene, kinds[rng.choice(len(kinds), p=share)], rng) for _ in range(20))
        question = next((question for question in tries if question), None) or make_question(scene, "exist", rng)
        found += [question] if question else []
    return found


def _pick(rng: np.random.Generator, items: Sequence[_T]) -> _T:
    return items[int(rng.integers(len(items)))]


def _exist(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str]:
    present = sorted({thing.name for thing in scene.things})
    if rng.random() < 0.5:
        return {"a": with_article(_pick(rng, present))}, "yes"
    absent = [name for name in THING_KINDS if name not in present]
    groups = {GROUP_OF[name] for name in present}
    near = [name for name in absent if GROUP_OF[name] in groups]
    hard = bool(near) and rng.random() < 0.5  # half of the "no" questions name a thing of the same group
    return {"a": with_article(_pick(rng, near if hard else absent))}, "no"


def _which(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str] | None:
    """A group with exactly one thing in the picture; never the group "thing", which would be vague."""
    found = [(GROUP_OF[thing.name], thing.phrase) for thing in scene.things]
    groups = [group for group, _ in found]
    clear = [(g, phrase) for g, phrase in found if groups.count(g) == 1 and g not in ("thing", "sign")]
    if not clear:
        return None
    group, phrase = _pick(rng, clear)
    return {"group": group}, phrase


def _colour(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str] | None:
    shapes = [(thing.name, thing.colour) for thing in scene.unique() if thing.colour]
    if not shapes:
        return None
    name, colour = _pick(rng, shapes)
    return {"name": name}, colour


def _what_at(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str]:
    if rng.random() < 0.12:
        taken = {thing.cell for thing in scene.things}
        empty = [cell for cell in CELLS if cell not in taken]
        return {"place": _pick(rng, empty).name}, NO_THING
    thing = _pick(rng, list(scene.things))
    return {"place": thing.cell.name}, thing.phrase


def _side(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str] | None:
    alone: list[tuple[str, Thing]] = []
    for side, (axis, value) in SIDES.items():
        found = [thing for thing in scene.things if _coordinate(thing.cell, axis) == value]
        alone += [(side, found[0])] if len(found) == 1 else []
    if not alone:
        return None
    side, thing = _pick(rng, alone)
    return {"place": side}, thing.phrase


def _coordinate(cell: PictureCell, axis: int) -> int:
    return cell.row if axis else cell.column


def _where(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str] | None:
    things = scene.unique()
    if not things:
        return None
    thing = _pick(rng, things)
    return {"name": thing.name}, thing.cell.name


def _beside(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str] | None:
    clear: list[tuple[dict[str, str], str]] = []
    empty: list[tuple[dict[str, str], str]] = []
    for thing in scene.unique():
        for relation, (axis, direction) in RELATIONS.items():
            here = _coordinate(thing.cell, axis)
            found = [o for o in scene.things if (_coordinate(o.cell, axis) - here) * direction > 0]
            slots = {"relation": relation, "name": thing.name}
            if len(found) == 1:
                clear.append((slots, found[0].phrase))
            elif not found:
                empty.append((slots, NO_THING))
    if clear and rng.random() < 0.85:
        return _pick(rng, clear)
    return _pick(rng, empty) if empty and rng.random() < 0.3 else None


def _relation(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str] | None:
    """Yes or no, evenly; both things occur once and stand in different columns or rows."""
    things = scene.unique()
    pairs = [
        (one, other, axis)
        for one in things
        for other in things
        for axis in (0, 1)
        if _coordinate(one.cell, axis) != _coordinate(other.cell, axis)
    ]
    if not pairs:
        return None
    one, other, axis = _pick(rng, pairs)
    relation = _pick(rng, [name for name, (along, _) in RELATIONS.items() if along == axis])
    holds = (_coordinate(one.cell, axis) - _coordinate(other.cell, axis)) * RELATIONS[relation][1] > 0
    return {"name": one.name, "relation": relation, "other": other.name}, "yes" if holds else "no"


def _biggest(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str] | None:
    largest, *others = sorted(scene.things, key=lambda thing: -thing.size)
    if not others or largest.size < CLEARLY * others[0].size or largest.name == "sign":
        return None
    return {}, largest.phrase


def _background(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str]:
    return {}, BACKGROUNDS[scene.background]


def _count(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str]:
    """Asks about repeated things whenever there are some, so that "one" is not a safe guess."""
    many = sorted({thing.name for thing in scene.things if len(scene.of(thing.name)) > 1})
    chance = rng.random()
    if many and chance < 0.8:
        name = _pick(rng, many)
    elif chance < (0.9 if many else 0.55):
        name = _pick(rng, [thing.name for thing in scene.things])
    else:
        name = _pick(rng, [name for name in THING_KINDS if not scene.of(name)])
    return {"names": plural(name)}, COUNT_WORDS[len(scene.of(name))]


def _sign(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str] | None:
    texts = [thing.word for thing in scene.things if thing.word]
    return ({}, texts[0]) if len(texts) == 1 else None


def _describe(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str] | None:
    if len(scene.things) > MOST_DESCRIBED:
        return None
    return {}, list_in_words([thing.phrase for thing in scene.things])


def list_in_words(phrases: list[str]) -> str:
    """["a cat", "a dog", "a key"] -> "a cat, a dog and a key"."""
    if len(phrases) == 1:
        return phrases[0]
    return ", ".join(phrases[:-1]) + " and " + phrases[-1]


_MAKERS = {
    "exist": _exist,
    "which": _which,
    "colour": _colour,
    "what_at": _what_at,
    "side": _side,
    "where": _where,
    "beside": _beside,
    "relation": _relation,
    "count": _count,
    "biggest": _biggest,
    "sign": _sign,
    "background": _background,
    "describe": _describe,
}
