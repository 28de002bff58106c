"""The drawn world: repeatable, inside the picture, and its questions are answered by its facts."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.symbolic_scenes import centre_patch, label, symbolic_labels
from vscan_eval.world.catalog import (
    BACKGROUNDS,
    CELLS,
    COUNT_WORDS,
    HELD_OUT_PAIRS,
    HELD_OUT_STYLE,
    plural,
    with_article,
)
from vscan_eval.world.drawing import draw_scene, patch_owner
from vscan_eval.world.questions import NO_THING, QUESTION_TYPES, list_in_words, make_question
from vscan_eval.world.scene import PICTURE_SIDE, SPLITS, Scene, Thing, sample_scene

SEEDS = st.integers(0, 10**6)


def shapes_only() -> Scene:
    """A red ball at the top left and a blue star at the bottom right; needs no artwork."""
    ball = Thing("ball", CELLS[0], (60.0, 60.0), 100, colour="red")
    star = Thing("star", CELLS[8], (270.0, 275.0), 90, colour="blue")
    return Scene((ball, star), background=2, seed=5)


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_same_seed_same_scene_and_everything_inside(seed: int) -> None:
    scene = sample_scene(seed)
    assert scene == sample_scene(seed)
    for thing in scene.things:
        assert all(thing.size / 2 <= c <= PICTURE_SIDE - thing.size / 2 for c in thing.centre)
        column, row = (int(c // (PICTURE_SIDE / 3)) for c in thing.centre)
        assert (row, column) == (thing.cell.row, thing.cell.column)


@settings(max_examples=80, deadline=None)
@given(SEEDS, st.sampled_from(QUESTION_TYPES))
def test_answers_agree_with_the_facts(seed: int, kind: str) -> None:
    scene = sample_scene(seed)
    question = make_question(scene, kind, np.random.default_rng(seed))
    if question is None:
        return  # this scene has no clear answer to that kind of question
    text, answer = question.text, question.answer
    phrases = [thing.phrase for thing in scene.things]
    named = [t for t in scene.things if re.search(rf"\b{t.name}\b", text)]
    if kind == "exist":
        assert answer == ("yes" if any(f" {with_article(t.name)}" in text for t in scene.things) else "no")
    elif kind == "count":
        counted = [t for t in scene.things if f"many {plural(t.name)} " in text]
        assert answer == COUNT_WORDS[len(counted)]
    elif kind in ("colour", "where"):
        facts = {t.colour if kind == "colour" else t.cell.name for t in named}
        assert answer in facts
    elif kind == "sign":
        assert answer in {t.word for t in scene.things}
    elif kind == "relation":
        where = {t.name: t.cell for t in named}
        one, other = (where[name] for name in sorted(where, key=lambda name: re.search(rf"\b{name}\b", text).start()))
        holds = {
            "left of": one.column < other.column,
            "right of": one.column > other.column,
            "above": one.row < other.row,
            "below": one.row > other.row,
        }
        assert answer == ("yes" if next(true for name, true in holds.items() if f" {name} " in text) else "no")
    elif kind == "biggest":
        assert answer == max(scene.things, key=lambda thing: thing.size).phrase
    elif kind == "background":
        assert answer == BACKGROUNDS[scene.background]
    elif kind == "describe":
        assert answer == list_in_words(phrases)
    else:
        assert answer == NO_THING or answer in phrases


def test_articles_and_plurals_read_naturally() -> None:
    assert [with_article(n) for n in ("cat", "apple", "orange ball")] == ["a cat", "an apple", "an orange ball"]
    assert [plural(n) for n in ("cat", "fish", "bus", "peach", "tomato")] == [
        "cats",
        "fish",
        "buses",
        "peaches",
        "tomatoes",
    ]
    assert list_in_words(["a cat", "a dog", "a key"]) == "a cat, a dog and a key"


def test_shapes_are_drawn_where_the_facts_say() -> None:
    scene = shapes_only()
    picture = draw_scene(scene)
    assert np.array_equal(picture.pixels, draw_scene(scene).pixels)
    red, green, blue = (int(v) for v in picture.pixels[75, 70])
    assert red > 150 and green < 90 and blue < 90
    labels = label(scene, picture.owner)
    assert labels.thing[centre_patch((60.0, 60.0))] == 1
    assert labels.centre.sum() == 2
    assert set(labels.row[labels.thing == 2]) == {3}


def test_a_patch_belongs_to_the_thing_that_covers_most_of_it() -> None:
    owner = np.zeros((PICTURE_SIDE, PICTURE_SIDE), np.int64)
    owner[:14, :10], owner[:14, 10:14] = 1, 2
    owner[14:16, :14] = 2  # too little of the patch below
    patches = patch_owner(owner, 2)
    assert patches[0] == 1 and patches.sum() == 1


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_symbolic_scenes_show_every_thing(seed: int) -> None:
    scene = sample_scene(seed)
    labels = symbolic_labels(scene, np.random.default_rng(seed))
    assert set(labels.thing) - {0} == set(range(1, len(scene.things) + 1))


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_is_repeatable_and_keeps_to_its_own(split) -> None:
    for seed in range(40):
        scene = sample_scene(seed, split)
        assert scene == sample_scene(seed, split)
        assert np.array_equal(draw_scene(scene).pixels, draw_scene(scene).pixels)
        held_style = {thing.style == HELD_OUT_STYLE for thing in scene.things}
        held_pairs = {(thing.name, thing.colour) in HELD_OUT_PAIRS for thing in scene.things}
        assert held_style == {split == "style"}
        assert (True in held_pairs) == (split == "combos")


def test_small_things_and_crowds_occur() -> None:
    scenes = [sample_scene(seed) for seed in range(300)]
    assert {len(scene.things) for scene in scenes} == set(range(1, 8))
    assert min(thing.size for scene in scenes for thing in scene.things) <= 20
    assert max(len(scene.of(thing.name)) for scene in scenes for thing in scene.things) == 6
