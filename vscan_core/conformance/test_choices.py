"""What must hold for the choices of any method, asked without a model."""

from __future__ import annotations

import random
import re
from dataclasses import FrozenInstanceError
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vscan_core.budget import average
from vscan_core.conformance.made_up import (
    ASKED_ABOUT,
    changed,
    chosen,
    flat_signals,
    made_up_signals,
    tensors_of,
    within_reach,
)
from vscan_core.errors import InputError
from vscan_core.reducers import REDUCERS, Reducer
from vscan_core.selection import Anatomy, Needs, Selection

DRAWS = 12  # pictures of any size with any budget, beside the extremes
NAMED_LEAST = re.compile(r"the least is (0\.\d+)$")


def needs_of_method(reducer: Reducer) -> Needs:
    """The signals of cut 0, where there is one."""
    return reducer.needs(ASKED_ABOUT) if 0 in reducer.cut_layers(ASKED_ABOUT) else Needs()


def choices(reducer: Reducer, side: int, keep: int, seed: int = 0) -> list[list[Selection]]:
    """What a method chooses of a made-up picture; [] if it refuses it, in one sentence."""
    try:
        return chosen(reducer, made_up_signals(side, seed, needs=needs_of_method(reducer)), keep)
    except InputError as refusal:
        assert "\n" not in str(refusal)
        return []


def ascends(indices: Tensor) -> bool:
    """Whether each index is larger than the one before it."""
    return bool((indices[1:] > indices[:-1]).all())


def check_choice(one: Selection, tokens: int, label: str) -> None:
    """Indices of tokens that are there, ascending, each once; labels and merges that fit them."""
    kept = one.kept
    assert kept.dtype == torch.int64 and ascends(kept), f"{label}: kept must ascend: {kept}"
    assert not len(kept) or 0 <= kept[0] <= kept[-1] < tokens, f"{label}: kept must be among {tokens} tokens: {kept}"
    if one.labels:
        told = torch.cat(list(one.labels.values())).sort().values
        assert torch.equal(told, kept), f"{label}: labels must hold every kept token once, but hold {told}"
    if one.merged_into is not None:
        gone = one.merged_into >= 0
        assert one.merged_into.shape == (tokens,) and (one.merged_into[~gone] == -1).all(), label
        assert not gone[kept].any(), f"{label}: a kept token cannot merge into another"
        assert torch.isin(one.merged_into[gone], kept).all(), f"{label}: tokens can only merge into kept ones"
    if one.mix is not None:
        assert one.mix.shape == (len(kept), tokens), f"{label}: mix must be (kept, tokens)"
    rows = torch.randn(tokens, 8, generator=torch.Generator().manual_seed(0))
    assert one.apply(rows).isfinite().all() and one.apply(rows).shape == (len(kept), 8), label


def same(one: list[list[Selection]], other: list[list[Selection]]) -> bool:
    """Whether two answers keep the same tokens at every cut."""
    pairs = zip(chain(*one), chain(*other), strict=True)
    return all(torch.equal(a.kept, b.kept) for a, b in pairs)


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The number of elements in the largest tensor that any operator returns."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for part in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(part, Tensor):
                self.elements = max(self.elements, part.numel())
        return out


class TestChoices:
    """Every test gets the method's name."""

    def test_says_what_it_is(self, method: str) -> None:
        cls = REDUCERS[method]
        assert method == cls.__name__.lower() == re.sub("[ -]", "", cls.title.lower())
        assert cls.summary[0].islower() and not cls.summary.endswith("."), "summary: one sentence, no capital, no stop"
        assert not cls.paper or re.search(r", arXiv \d{4}\.\d{5}(v\d)?$", cls.paper), 'paper: "Name, arXiv 2403.06764"'

    def test_is_an_immutable_value(self, method: str) -> None:
        one, other = REDUCERS[method](0.25), REDUCERS[method](retention=0.25)
        assert one == other and hash(one) == hash(other) and one != REDUCERS[method](0.5)
        with pytest.raises(FrozenInstanceError):
            one.retention = 0.5  # type: ignore[misc]
        for wrong in (0, -1, 1.5, "x", True):
            with pytest.raises(InputError):
                REDUCERS[method](wrong)  # type: ignore[arg-type]

    def test_keeps_exactly_the_budget_ascending_and_accounts_for_every_token(self, method: str) -> None:
        reducer, draw, answered = within_reach(method), random.Random(method), 0
        sides = [1, 2, 24, *(draw.randint(1, 24) for _ in range(DRAWS))]
        cases = [(side, keep) for side in sides for keep in {1, draw.randint(1, side * side)}]
        for side, keep in cases:
            for tiles in choices(reducer, side, keep, seed=side):
                for one in tiles:
                    check_choice(one, side * side, f"{side} x {side} tokens, keep {keep}")
                count = sum(len(one.kept) for one in tiles)
                assert count == keep * len(tiles) or (reducer.adaptive and 0 < count < keep * len(tiles)), (side, keep)
                answered += 1
        assert answered, "it refuses every picture, of any size and with any budget"

    def test_keeping_everything_changes_nothing(self, method: str) -> None:
        rows = torch.randn(36, 8, generator=torch.Generator().manual_seed(0))
        for one in chain(*choices(within_reach(method), 6, 36)):
            assert torch.equal(one.kept, torch.arange(36)) and torch.equal(one.apply(rows), rows)

    def test_asked_twice_it_answers_twice_the_same_also_where_nothing_stands_out(self, method: str) -> None:
        reducer = within_reach(method)
        assert same(choices(reducer, 9, 20), choices(within_reach(method), 9, 20))
        flat = flat_signals(needs_of_method(reducer))
        first, again = chosen(reducer, flat, 12), chosen(reducer, flat, 12)
        assert same(first, again)
        for tiles in first:
            assert sum(len(one.kept) for one in tiles) == 12 * len(tiles)
            for one in tiles:
                check_choice(one, 36, "36 equal tokens, keep 12")

    def test_leaves_signals_and_the_dice_of_others_alone(self, method: str) -> None:
        reducer = within_reach(method)
        given = made_up_signals(8, needs=needs_of_method(reducer))
        before = {name: tensor.clone() for name, tensor in tensors_of(given).items()}
        dice = torch.get_rng_state()
        chosen(reducer, given, 30)
        assert torch.equal(torch.get_rng_state(), dice), "draw from a torch.Generator of its own"
        assert all(torch.equal(tensor, before[name]) for name, tensor in tensors_of(given).items())

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    def test_half_precision_is_read_and_not_computed_in(self, method: str, dtype: torch.dtype) -> None:
        reducer = within_reach(method)
        half = made_up_signals(12, dtype=dtype, needs=needs_of_method(reducer))
        wide = changed(half, lambda name, tensor: tensor.float())
        answers, expected = chosen(reducer, half, 64), chosen(reducer, wide, 64)
        assert same(answers, expected), "make signals float32: geometry.precise"
        assert half.features is not None and wide.features is not None
        for one, other in zip(chain(*answers), chain(*expected), strict=True):
            rows, exact = one.apply(half.features), other.apply(wide.features)
            assert rows.dtype == dtype
            torch.testing.assert_close(rows.float(), exact, atol=2e-3, rtol=8e-3)

    def test_makes_no_attention_map(self, method: str) -> None:
        reducer = within_reach(method)
        given = made_up_signals(16, needs=needs_of_method(reducer))
        with Largest() as largest:
            answers = chosen(reducer, given, 100)
        tiles = max(map(len, answers))
        assert largest.elements <= tiles * 256**2, "a matrix of all tokens for every head, or several of them at once"

    def test_schedule_spends_the_asked_average(self, method: str) -> None:
        cls, draw = REDUCERS[method], random.Random(method)
        for _ in range(4 * DRAWS):
            retention, tokens, layers = draw.uniform(0.002, 1), draw.choice([576, 2880, 729]), draw.randint(3, 64)
            anatomy = Anatomy(vision_layers=24, feature_layer=22, text_layers=layers, shallow_layer=5)
            try:
                schedule = cls(retention=retention).schedule(tokens, anatomy)
            except InputError as refusal:
                assert "\n" not in str(refusal)
                if not (least := NAMED_LEAST.search(str(refusal))):
                    continue
                assert retention < float(least[1]) < 1  # what it names is in reach, and no more than needed
                retention = float(least[1])
                with pytest.raises(InputError):
                    cls(retention=retention * 0.99).schedule(tokens, anatomy)
                schedule = cls(retention=retention).schedule(tokens, anatomy)
            assert abs(average(schedule, tokens, layers) - retention * tokens) <= 1, (retention, tokens, layers)
            assert list(schedule) == sorted(schedule) and all(0 <= layer < layers for layer in schedule)
            assert set(schedule) <= set(cls(retention=retention).cut_layers(anatomy))
            assert all(1 <= keep <= tokens for keep in schedule.values())
        assert cls(retention=1).schedule(576, ASKED_ABOUT) == {}, "a retention of 1 cuts nothing"
