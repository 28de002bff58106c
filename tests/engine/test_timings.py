"""Published timings, on a clock that only the model's own parts advance: each stage gets its own time, all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from PIL import Image

import vscan_core as vc
from tests.families import lvlms
from vscan_core import measured_run
from vscan_core.measure import RecentKeys, Stopwatch

TOWER_MS, ENTRANCE_MS, LATER_MS, LAYER_MS = 100, 7, 3, 1


class Clock:
    """Milliseconds that pass only when something takes them; `answers` counts calls of the language-model head."""

    def __init__(self) -> None:
        self.ms, self.answers = 0, 0

    def now(self) -> float:
        return self.ms / 1000

    def take(self, ms: int) -> None:
        self.ms += ms

    def answer(self) -> None:
        """The head takes longer each time, so that no mean equals its first or last value."""
        self.answers += 1
        self.ms += 10 * self.answers


@contextmanager
def slowed(lvlm: vc.LVLM, clock: Clock) -> Iterator[None]:
    """The model's parts take the times above."""
    tower, layers = lvlm.family.vision_tower(lvlm.model), lvlm.family.layers(lvlm.model)
    handles = [
        tower.register_forward_hook(lambda *_: clock.take(TOWER_MS)),
        *(layer.register_forward_hook(lambda *_: clock.take(LAYER_MS)) for layer in layers),
        lvlm.model.lm_head.register_forward_hook(lambda *_: clock.answer()),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@pytest.fixture(autouse=True)
def endless(monkeypatch) -> None:
    """Answers end by their limit only."""
    monkeypatch.setattr(measured_run, "stop_ids", lambda model: set())


@pytest.fixture
def lvlm() -> vc.LVLM:
    """As a model that has not run yet."""
    return replace(lvlms.lvlm("llava"), warmed=RecentKeys())


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(measured_run, "Stopwatch", partial(Stopwatch, now=clock.now))
    for name, ms in (("select_tiles", ENTRANCE_MS), ("select_in_llm", LATER_MS)):
        slow(monkeypatch, name, ms, clock)
    return clock


def slow(monkeypatch, name: str, ms: int, clock: Clock) -> None:
    original = getattr(vc.VScan, name)

    def slower(*args: Any) -> Any:
        clock.take(ms)
        return original(*args)

    monkeypatch.setattr(vc.VScan, name, slower)


def ask(lvlm: vc.LVLM, reducer: vc.Reducer | None, limit: int = 1, side: int = 60) -> vc.Answer:
    *_, done = vc.answer(lvlm, Image.new("RGB", (side, side), "red"), "word5 word6", reducer, max_new_tokens=limit)
    return done.answer


@pytest.mark.parametrize("warmed_up", [True, False], ids=["warm", "after a warm-up run"])
def test_every_stage_gets_its_own_time(lvlm, clock, warmed_up) -> None:
    reducer, depth = vc.VScan(0.3), len(lvlm.family.layers(lvlm.model))
    if warmed_up:
        ask(lvlm, reducer)
    with slowed(lvlm, clock):
        answer = ask(lvlm, reducer, limit=4)
    assert [cut.layer for cut in answer.trace.images[0].cuts] == [0, depth // 2]
    first = 1 if warmed_up else 2  # the head's calls so far, this one included
    prefill = depth * LAYER_MS + 10 * first
    steps = [depth * LAYER_MS + 10 * (first + later) for later in (1, 2, 3)]
    ttft = TOWER_MS + ENTRANCE_MS + LATER_MS + prefill
    told = answer.timings
    assert told.vision_ms == pytest.approx(TOWER_MS)
    assert told.reduce_ms == pytest.approx(ENTRANCE_MS + LATER_MS)
    assert told.prefill_ms == pytest.approx(prefill)
    assert told.ttft_ms == pytest.approx(ttft)
    assert told.decode_ms_per_token == pytest.approx(sum(steps) / 3)
    assert told.total_ms == pytest.approx(ttft + sum(steps))


def test_the_baseline_spends_nothing_on_selection(lvlm, clock) -> None:
    with slowed(lvlm, clock):
        told = ask(lvlm, None).timings
    depth = len(lvlm.family.layers(lvlm.model))
    assert told.reduce_ms == 0 and told.vision_ms == pytest.approx(TOWER_MS)
    assert told.prefill_ms == pytest.approx(depth * LAYER_MS + 20)
    assert told.decode_ms_per_token is None and told.total_ms == pytest.approx(told.ttft_ms)


def runs(lvlm: vc.LVLM, *args: Any, **more: Any) -> int:
    """How often the vision tower runs for one answer: twice if a run to warm up comes first."""
    passes: list[int] = []
    handle = lvlm.family.vision_tower(lvlm.model).register_forward_hook(lambda *_: passes.append(1))
    try:
        ask(lvlm, *args, **more)
    finally:
        handle.remove()
    return len(passes)


def test_moving_the_retention_warms_up_once(lvlm) -> None:
    assert [runs(lvlm, vc.VScan(share)) for share in (0.2, 0.3, 0.31, 0.2)] == [2, 1, 1, 1]


def test_another_method_or_place_of_a_cut_is_warmed_up(lvlm) -> None:
    assert [runs(lvlm, reducer) for reducer in (None, vc.VScan(0.3), vc.VScan(0.3, llm_keep={}), None)] == [2, 2, 2, 1]
    assert runs(lvlm, vc.REDUCERS["divprune"](0.3)) == 2


def test_another_shape_of_picture_is_warmed_up() -> None:
    lvlm = replace(lvlms.lvlm("qwen2_5_vl"), warmed=RecentKeys())
    assert [runs(lvlm, vc.VScan(0.3), side=side) for side in (60, 200, 60)] == [2, 2, 1]


def test_only_the_latest_shapes_are_remembered() -> None:
    keys = RecentKeys(limit=2)
    for key in ("a", "b", "a", "c"):
        keys.add(key)
    assert [key in keys for key in "abc"] == [True, False, True]
    assert RecentKeys().limit == 256


def test_a_stopwatch_adds_up_its_sections() -> None:
    clock = Clock()
    stopwatch = Stopwatch(torch.device("cpu"), now=clock.now)
    for ms in (5, 11, 2):
        with stopwatch.section():
            clock.take(ms)
        clock.take(1)
    assert stopwatch.spent() == pytest.approx(18)
    assert stopwatch.spent(1) == pytest.approx(13) and stopwatch.spent(0, 1) == pytest.approx(5)
