"""The drawn world: repeatable, inside the picture, and its questions are answered by its facts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.symbols import centre_patch, label, symbolic_labels
from vscan_core.world.catalog import CELLS, NUMBERS, plural, with_article
from vscan_core.world.drawing import draw, patch_owner
from vscan_core.world.questions import NOTHING, TYPES, ask, list_in_words
from vscan_core.world.scene import PIXELS, Scene, Thing, sample_scene
from vscan_core.world.sprites import SPRITES

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
        assert all(thing.size / 2 <= c <= PIXELS - thing.size / 2 for c in thing.centre)
        column, row = (int(c // (PIXELS / 3)) for c in thing.centre)
        assert (row, column) == (thing.cell.row, thing.cell.column)


@settings(max_examples=80, deadline=None)
@given(SEEDS, st.sampled_from(TYPES))
def test_answers_agree_with_the_facts(seed: int, kind: str) -> None:
    scene = sample_scene(seed)
    question = ask(scene, kind, np.random.default_rng(seed))
    if question is None:
        return  # this scene has no clear answer to that kind of question
    text, answer = question.text, question.answer
    phrases = [thing.phrase for thing in scene.things]
    named = [t for t in scene.things if f" {t.name}" in text]
    if kind == "exist":
        assert answer == ("yes" if any(f" {with_article(t.name)}" in text for t in scene.things) else "no")
    elif kind == "count":
        asked = [t for t in scene.things if f"many {plural(t.name)} " in text]
        assert answer == NUMBERS[len(asked)]
    elif kind in ("colour", "where"):
        facts = {t.colour if kind == "colour" else t.cell.name for t in named}
        assert answer in facts
    elif kind == "sign":
        assert answer in {t.word for t in scene.things}
    elif kind == "describe":
        assert answer == list_in_words(phrases)
    else:
        assert answer == NOTHING or answer in phrases


def test_articles_and_plurals_read_naturally() -> None:
    assert [with_article(n) for n in ("cat", "apple", "orange ball")] == ["a cat", "an apple", "an orange ball"]
    assert [plural(n) for n in ("cat", "fish", "bus", "cross")] == ["cats", "fish", "buses", "crosses"]
    assert list_in_words(["a cat", "a dog", "a key"]) == "a cat, a dog and a key"


def test_shapes_are_drawn_where_the_facts_say() -> None:
    scene = shapes_only()
    picture = draw(scene)
    assert np.array_equal(picture.pixels, draw(scene).pixels)
    red, green, blue = (int(v) for v in picture.pixels[75, 70])
    assert red > 150 and green < 90 and blue < 90
    labels = label(scene, picture.owner)
    assert labels.thing[centre_patch((60.0, 60.0))] == 1
    assert labels.centre.sum() == 2
    assert set(labels.row[labels.thing == 2]) == {3}


def test_a_patch_belongs_to_the_thing_that_covers_most_of_it() -> None:
    owner = np.zeros((PIXELS, PIXELS), np.int64)
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


@pytest.mark.skipif(not SPRITES.exists(), reason="emoji artwork not fetched (python -m training.artwork)")
def test_emoji_scenes_are_repeatable() -> None:
    scene = sample_scene(12)
    assert np.array_equal(draw(scene).pixels, draw(scene).pixels)
