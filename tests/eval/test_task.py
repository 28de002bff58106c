"""What every task promises, and the drawn world as one."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest

import vscan_core as vc
from tests.eval.conftest import Colours
from vscan_eval.task import Item, Task, majority
from vscan_eval.tasks import TASKS
from vscan_eval.tasks.world import FIRST_EVAL_SEED, World, WorldCaptions, frozen_items, generated_items


def test_a_seed_shuffles_pictures_and_keeps_their_questions_together() -> None:
    in_order, shuffled = Colours().chosen(), Colours(seed=3).chosen()
    assert in_order != shuffled and sorted(i.id for i in in_order) == sorted(i.id for i in shuffled)
    assert all(len({item.picture for item in shuffled[start : start + 4]}) == 1 for start in (0, 4, 8))
    assert [item.id for item in Colours(seed=3).chosen(5)] == [item.id for item in shuffled[:5]]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_at_least_one(limit) -> None:
    with pytest.raises(vc.InputError, match="at least 1 question"):
        Colours().chosen(limit)


def test_files_that_are_missing_are_one_sentence(tmp_path) -> None:
    with pytest.raises(vc.InputError, match="give --data FOLDER, which holds pictures"):
        Colours().folder("pictures")
    with pytest.raises(vc.InputError, match="nothing at .*nowhere; the task colours expects pictures there"):
        Colours(tmp_path / "nowhere").folder("pictures")


def test_ids_must_differ() -> None:
    class Twice(Task):
        name = "twice"

        def items(self):
            return [Item("same", "p", lambda: None, "What?", ("no",))] * 2

    with pytest.raises(vc.InputError, match="ids must differ"):
        Twice().chosen()


def test_majority_is_the_best_constant_reply_per_kind() -> None:
    given = {"short": ["yes", "yes", "no"], "long": ["a cat", "a dog", "A dog."]}
    items = [
        Item(f"{kind}{i}", "p", lambda: None, "?", (text,), kind)
        for kind, texts in given.items()
        for i, text in enumerate(texts)
    ]
    found = majority(Colours(), items)
    assert [found[f"short{i}"] for i in range(3)] == [1, 1, 0]
    assert [found[f"long{i}"] for i in range(3)] == [0, 1, 1]  # "a dog" and "A dog." are one answer


class Turns(Colours):
    second_turn = True


def test_a_second_turn_follows_the_first_question_of_another_kind_and_its_answer() -> None:
    asked, long, short = Turns().chosen(), "What is it?", "Why?"
    assert [item.id for item in asked] == [item.id for item in Colours().chosen()]
    assert [item.history for item in asked[:4]] == [((before, "no"),) for before in (short, short, long, long)]
    assert all(item.history == () for item in Colours().chosen())
    assert [item.history for item in Turns(seed=3).chosen(2)] == [item.history for item in asked[:2]]


def test_a_second_turn_needs_another_question_about_the_picture() -> None:
    class Few(Turns):
        asked = ("Why?", "Why?", "Who?")

        def items(self):
            pictures = ("a", "b", "b")
            for place, (picture, question) in enumerate(zip(pictures, self.asked, strict=True)):
                yield Item(str(place), picture, lambda: None, question, ("no",))

    assert [(item.id, item.history) for item in Few().chosen()] == [("1", (("Who?", "no"),)), ("2", (("Why?", "no"),))]
    Few.asked = ("Why?", "Why?", "Why?")
    with pytest.raises(vc.InputError, match="no picture of the task colours has two questions"):
        Few().chosen()
    circular = TASKS["mmbench"]()
    circular.second_turn = True
    with pytest.raises(vc.InputError, match="one in several orders; leave out --second-turn"):
        circular.chosen()


@pytest.mark.parametrize("name", [name for name in TASKS if name.startswith("world")])
def test_worlds_repeat_and_stay_below_the_training_seeds(name) -> None:
    first, again = (list(islice(TASKS[name](seed=7).items(), 25)) for _ in range(2))
    assert [item.question for item in first] == [item.question for item in again]
    assert first[0].open().tobytes() == again[0].open().tobytes()
    assert [item.id for item in first] != [item.id for item in islice(TASKS[name](seed=8).items(), 25)]
    with pytest.raises(vc.InputError, match="were trained on"):
        TASKS[name](seed=1_000_000).chosen(1)


def test_world_asks_two_thousand_questions_unless_told_otherwise() -> None:
    assert len(World().chosen()) == 2000 and len(World(seed=5).chosen(30)) == 30


def test_the_frozen_set_is_what_the_world_makes_now() -> None:
    """Otherwise its answers may be wrong, and it must be rewritten."""
    assert [replace(i, open=None) for i in frozen_items()][::40] == [
        replace(i, open=None) for i in islice(generated_items(FIRST_EVAL_SEED), 2000)
    ][::40], 'python -c "from vscan_eval.tasks.world import freeze; freeze()"'


def test_splits_show_other_pictures() -> None:
    pixels = {
        next(iter(TASKS[name](seed=3).items())).open().tobytes() for name in ("world", "world-style", "world-combos")
    }
    assert len(pixels) == 3


def test_things_named_in_descriptions() -> None:
    one = next(iter(WorldCaptions().items()))
    assert one.kind == "describe"
    one = replace(one, answers=("a cat, a red ball and a cat",))
    assert WorldCaptions().figures([(one, "a red ball and a cat")]) == {
        "things named in descriptions": pytest.approx(2 / 3)
    }
    assert WorldCaptions().figures([]) == {}
