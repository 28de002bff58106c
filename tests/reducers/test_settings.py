"""Every reducer is a value: it has a hash, and what its caller does later to a dict or a list does not reach it."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict, deque
from dataclasses import fields, replace
from types import MappingProxyType

import pytest

import vscan_core as vc
from vscan_core.reducers.pyramiddrop import PyramidDrop
from vscan_core.reducers.settings import FrozenDict, frozen
from vscan_core.reducers.vispruner import VisPruner

CONTAINERS = {
    "vscan": {"llm_keep": {3: 5, 8: 0.5}},
    "pyramiddrop": {"layers": [2, 4], "shares": [0.5, 0.25]},
    "sparsevlm": {"layers": [2, 4], "keep": [9, 4]},
    "v2drop": {"layers": [2, 4], "shares": [0.5, 0.25]},
    "cdpruner": {"span": [0.1, 0.9]},
}


def test_no_container_is_forgotten() -> None:
    for name, cls in vc.REDUCERS.items():
        found = {field.name for field in fields(cls) if any(word in str(field.type) for word in ("Mapping", "tuple"))}
        assert found == set(CONTAINERS.get(name, ())), name


@pytest.mark.parametrize("name", vc.REDUCERS)
def test_is_a_key_whatever_it_is_made_from(name) -> None:
    given = copy.deepcopy(CONTAINERS.get(name, {}))
    reducer, twin = vc.REDUCERS[name](0.25, **given), vc.REDUCERS[name](0.25, **copy.deepcopy(given))
    before, text = hash(reducer), repr(reducer)
    for value in given.values():  # the caller goes on with the same objects
        value.clear()
    assert hash(reducer) == before == hash(twin) and repr(reducer) == text and reducer == twin
    assert {reducer: "found"}[twin] == "found"
    fixed = {key: tuple(value) for key, value in CONTAINERS.get(name, {}).items() if isinstance(value, list)}
    assert hash(replace(reducer, **fixed)) == before and replace(reducer, **fixed) == reducer


@pytest.mark.parametrize("name", vc.REDUCERS)
def test_travels_whole(name) -> None:
    reducer = vc.REDUCERS[name](0.25, **CONTAINERS.get(name, {}))
    copies = [pickle.loads(pickle.dumps(reducer)), copy.deepcopy(reducer), copy.copy(reducer), replace(reducer)]
    for other in copies:
        assert other == reducer and hash(other) == hash(reducer) and repr(other) == repr(reducer)
    smaller = replace(reducer, retention=0.125)
    assert smaller != reducer and smaller.retention == 0.125 and hash(smaller) == hash(replace(smaller))


@pytest.mark.parametrize("name", vc.REDUCERS)
def test_every_field_takes_a_list_or_a_dict_as_a_value_or_refuses_it(name) -> None:
    for field in fields(vc.REDUCERS[name]):
        for odd in ([1], {1: 2}, [[1]], {1: [2]}, {1}):
            try:
                hash(vc.REDUCERS[name](**{field.name: odd}))
            except vc.InputError as refusal:
                assert field.name in str(refusal)


def test_a_pair_is_a_key_too() -> None:
    seconds = [PyramidDrop(0.5, layers=kind([2, 4]), shares=kind([8, 4])) for kind in (list, tuple)]
    pairs = [VisPruner(0.5).then(second) for second in seconds]
    assert pairs[0] == pairs[1] and hash(pairs[0]) == hash(pairs[1])
    assert pickle.loads(pickle.dumps(pairs[0])) == copy.deepcopy(pairs[0]) == pairs[0]


def test_a_dict_prints_and_compares_as_one_and_does_not_change() -> None:
    reducer = vc.VScan(llm_keep={3: 5})
    assert "llm_keep={3: 5}" in repr(reducer) and reducer.llm_keep == {3: 5}
    assert hash(vc.VScan(llm_keep={3: 5, 4: 2})) == hash(vc.VScan(llm_keep={4: 2, 3: 5}))
    for change in (
        lambda held: held.__setitem__(3, 1),
        lambda held: held.__delitem__(3),
        lambda held: held.update({3: 1}),
        lambda held: held.__ior__({3: 1}),
        lambda held: held.setdefault(4, 1),
        lambda held: held.pop(3),
        lambda held: held.popitem(),
        lambda held: held.clear(),
    ):
        with pytest.raises(TypeError, match="dataclasses.replace"):
            change(reducer.llm_keep)
    assert reducer.llm_keep == {3: 5}
    assert {**reducer.llm_keep} == reducer.llm_keep.copy() == reducer.llm_keep | {} == {3: 5}


@pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType, FrozenDict])
def test_any_mapping_will_do(kind) -> None:
    reducer = vc.VScan(llm_keep=kind({3: 5}))
    assert reducer == vc.VScan(llm_keep={3: 5}) and pickle.loads(pickle.dumps(reducer)) == reducer


def test_frozen_reaches_inside() -> None:
    made = frozen({1: [2, {3: deque([4])}], 5: {6}, 7: "text", 8: range(2)})
    assert made == {1: (2, {3: (4,)}), 5: frozenset({6}), 7: "text", 8: (0, 1)} and isinstance(hash(made), int)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"llm_keep": [3, 5]}, "llm_keep must be a dict"),
        ({"llm_keep": 5}, "llm_keep must be a dict"),
        ({"llm_keep": {"3": 5}}, "each layer of llm_keep must be a whole number"),
        ({"llm_keep": {3: "5"}}, r"llm_keep\[3\] must be"),
        ({"llm_keep": {3: 0}}, r"llm_keep\[3\] must be"),
        ({"llm_keep": {3: [5]}}, r"llm_keep\[3\] must be"),
        ({"window": 2.5}, "window must be a whole number"),
        ({"prune_layer": "16"}, "prune_layer must be a whole number"),
        ({"local_layer": [1]}, "local_layer must be a whole number"),
        ({"local_share": "half"}, "local_share must be a number, but is 'half'"),
        ({"retention": [0.5]}, "retention must be"),
        ({"merge": "no"}, "merge must be True or False"),
        ({"positions": ["original"]}, "positions must be"),
    ],
)
def test_a_setting_of_the_wrong_shape_is_one_sentence(setting, message) -> None:
    with pytest.raises(vc.InputError, match=message):
        vc.VScan(**setting)
