"""One run of the vision encoder serves several methods, questions and previews, and changes none of their results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from PIL import Image

import vscan_core as vc
from tests.families import lvlms
from tests.families.refused import refusal
from vscan_core.engine.shared_vision import SharedVision, encode_pixels
from vscan_core.events import Done
from vscan_core.measure import RecentKeys, Stopwatch
from vscan_core.selection import Needs
from vscan_core.vision_cache import VisionCache, pixel_digest, union

NAMES = list(lvlms.MAKERS)
PICTURE = Image.effect_noise((150, 100), 80).convert("RGB")


@pytest.fixture
def lvlm(request) -> vc.LVLM:
    """As a model that has not run yet."""
    return replace(lvlms.lvlm(request.param), vision_cache=VisionCache(), warmed=RecentKeys())


every_family = pytest.mark.parametrize("lvlm", NAMES, indirect=True)
one_family = pytest.mark.parametrize("lvlm", ["llava"], indirect=True)


def methods(lvlm: vc.LVLM) -> list[vc.Reducer | None]:
    made = [cls(0.5) for cls in vc.REDUCERS.values()]
    return [None, *(reducer for reducer in made if refusal(lvlm.model, reducer) is None)]


def answers(lvlm: vc.LVLM, reducers, question: str = "word5 word6", **more) -> list[vc.Answer]:
    events = vc.compare(lvlm, PICTURE, question, reducers, max_new_tokens=3, **more)
    return [event.answer for event in events if isinstance(event, Done)]


@contextmanager
def counted(lvlm: vc.LVLM) -> Iterator[list[int]]:
    """Runs of the encoder's first block: of what is inside it, because a replayed block is called as well."""
    block = lvlm.family.vision_blocks(lvlm.family.vision_tower(lvlm.model))[0]
    linear = next(module for module in block.modules() if isinstance(module, torch.nn.Linear))
    runs: list[int] = []
    handle = linear.register_forward_hook(lambda *_: runs.append(1))
    try:
        yield runs
    finally:
        handle.remove()


@every_family
def test_sharing_changes_no_token_and_no_cut(lvlm) -> None:
    reducers = methods(lvlm)
    alone, together = answers(lvlm, reducers), answers(lvlm, reducers, share_vision=True)
    for one, other in zip(alone, together, strict=True):
        assert one.token_ids == other.token_ids and one.method == other.method
        cuts = [[[cut.kept.tolist() for cut in image.cuts] for image in answer.trace.images] for answer in (one, other)]
        assert cuts[0] == cuts[1]
        assert one.trace.tokens_per_layer == other.trace.tokens_per_layer
        assert other.timings.vision_shared == (other.method != "tome")
        assert one.timings.vision_shared == (one.method == "cascade")  # whose two readings are of one encoding


@every_family
def test_the_encoder_runs_once_for_all_methods_questions_and_previews(lvlm) -> None:
    reducers = [reducer for reducer in methods(lvlm) if reducer is None or not reducer.needs(lvlm.anatomy).blocks]
    with counted(lvlm) as runs:
        answers(lvlm, reducers, share_vision=True)
        assert len(runs) == 2  # the first of them untimed
        answers(lvlm, [None, vc.VScan(0.3)], "word7", share_vision=True)
        lvlm.preview(PICTURE, vc.VScan(0.3)).trace(vc.VScan(0.3))
        assert len(runs) == 2


@one_family
def test_a_method_that_changes_the_encoder_runs_it(lvlm) -> None:
    answers(lvlm, [None], share_vision=True)
    with counted(lvlm) as runs:
        (merged,) = answers(lvlm, [vc.REDUCERS["tome"](0.5)], share_vision=True)
    assert len(runs) == 2 and not merged.timings.vision_shared


@every_family
def test_times_are_booked_as_if_each_run_had_encoded_the_picture(lvlm) -> None:
    baseline, vscan, grid = answers(lvlm, [None, vc.VScan(0.5), vc.REDUCERS["grid"](0.5)], share_vision=True)
    shared = lvlm.encode(lvlm.inputs(PICTURE, "word5 word6"), Needs())
    signals = [vc.VScan(0.5).needs(lvlm.anatomy), Needs()]
    assert shared.covers(signals[0]) and shared.ms > 0
    assert min(shared.signal_ms.values()) > 0 and shared.reduction_ms(signals[1]) == 0
    assert baseline.timings.reduce_ms == 0
    assert vscan.timings.reduce_ms > shared.reduction_ms(signals[0]) > 0
    assert all(answer.timings.vision_ms > shared.ms for answer in (baseline, vscan, grid))


@one_family
def test_more_signals_of_a_known_picture_are_added_to_those_before(lvlm) -> None:
    inputs = lvlm.inputs(PICTURE, "word5")
    first = lvlm.encode(inputs, Needs(cls_attention=(1,)))
    both = lvlm.encode(inputs, Needs(cls_attention=(2,), keys=True))
    assert not first.covers(both.needs) and both.covers(first.needs)
    assert lvlm.encode(inputs, first.needs) is both


@one_family
def test_other_pixels_are_another_picture(lvlm) -> None:
    inputs = lvlm.inputs(PICTURE, "word5")
    shared = lvlm.encode(inputs, Needs())
    brighter = lvlm.inputs(PICTURE.point(lambda value: min(255, value + 9)), "word5")
    assert lvlm.encode(brighter, Needs()) is not shared
    assert pixel_digest(inputs.of_vision) == pixel_digest(lvlm.inputs(PICTURE, "word9").of_vision)
    assert pixel_digest({"pixels": torch.zeros(2, 3)}) != pixel_digest({"pixels": torch.zeros(3, 2)})


@pytest.mark.parametrize("lvlm", ["qwen2_5_vl"], indirect=True)
def test_the_model_is_left_as_found(lvlm) -> None:
    blocks = lvlm.family.vision_blocks(lvlm.family.vision_tower(lvlm.model))
    before = [dict(vars(block)) for block in blocks]
    with pytest.raises(vc.InputError, match="CLIP text encoder"):
        encode_pixels(lvlm.model, lvlm.family, {}, Needs(joint=True), Stopwatch(lvlm.device))
    answers(lvlm, [None, vc.VScan(0.5)], share_vision=True)
    assert [dict(vars(block)) for block in blocks] == before


def run_of(tokens: int) -> SharedVision:
    return SharedVision(Needs(), torch.nn.Identity(), {0: torch.zeros(tokens)}, {}, 1.0, {}, None)


def test_the_cache_holds_so_many_bytes() -> None:
    cache = VisionCache(limit=40)
    for key, tokens in (("a", 4), ("b", 4)):
        cache.put(key, run_of(tokens))
    assert cache.get("a") is not None
    cache.put("c", run_of(4))
    assert [cache.get(key) is not None for key in "abc"] == [True, False, True]
    cache.put("d", run_of(11))
    assert cache.get("d") is None and len(cache) == 0


def test_who_changes_the_encoder_shares_no_signals() -> None:
    needs = [Needs(cls_attention=(1,)), Needs(cls_attention=(5,), blocks=True), Needs(keys=True)]
    assert union(needs) == Needs(cls_attention=(1,), keys=True)
