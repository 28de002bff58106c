"""Tokens forced in and out: always obeyed, budgets kept, as little as possible changed; on real runs as well."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import vscan_core as vc
from tests.families import lvlms
from tests.reducers.test_examination import ANATOMY, signals
from vscan_core.inference import compare_prepared
from vscan_core.reducers import Forced
from vscan_core.resources import asset
from vscan_core.selection import Needs

CHOOSERS = [name for name, cls in vc.REDUCERS.items() if not cls().needs(ANATOMY).blocks and not cls().sees_all_tiles]
RUN = ("vscan", "vispruner", "fastv", "random", "grid")
QUESTION = "What colour is the heart?"


@pytest.fixture(scope="module")
def asked(mini):
    """The inputs of an example and its encoding, with the signals of every method that runs here."""
    with Image.open(asset("examples", "scene_60059.png")) as picture:
        inputs = mini.inputs(picture, QUESTION)
    needs = [vc.REDUCERS[name](0.3).needs(mini.anatomy) for name in RUN]
    every = Needs()
    for one in needs:
        every = every | one
    return inputs, mini.encode(inputs, every)


def run(mini, asked, reducer) -> vc.Answer:
    inputs, shared = asked
    *_, done = compare_prepared(mini, inputs, [reducer], max_new_tokens=1, shared=shared)
    return done.answer


@pytest.mark.parametrize("name", CHOOSERS)
@settings(deadline=None, max_examples=8)
@given(data=st.data())
def test_every_method_obeys_and_keeps_its_budget(name, data) -> None:
    keep = data.draw(st.integers(1, 34))
    places = data.draw(st.lists(st.integers(0, 35), unique=True, max_size=12))
    split = data.draw(st.integers(0, len(places)))
    into, out = places[:split], places[split:]
    chosen = Forced(vc.REDUCERS[name](), keep=into, drop=out).select(signals(6, seed=len(places)), keep)
    kept = set(chosen.kept.tolist())
    assert torch.equal(chosen.kept, chosen.kept.unique())
    assert set(into) <= kept and not kept & set(out)
    assert len(kept) == max(len(into), min(keep, 36 - len(out)))
    if chosen.labels:
        assert sorted(torch.cat(list(chosen.labels.values())).tolist()) == sorted(kept)
        assert sorted(chosen.labels.get("forced", torch.empty(0)).tolist()) == sorted(into)
    if chosen.merged_into is not None:
        dropped = chosen.merged_into >= 0
        assert set(chosen.merged_into[dropped].tolist()) <= kept
        assert not dropped[chosen.kept].any() and not dropped[out].any()
    if chosen.mix is not None:
        assert chosen.mix.shape == (len(kept), 36) and (chosen.mix[:, out] == 0).all()
        assert chosen.mix.isfinite().all() and (chosen.mix.abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", CHOOSERS)
def test_without_marks_it_is_the_method(name) -> None:
    given, method = signals(8), vc.REDUCERS[name]()
    one, other = method.select(given, 20), Forced(method).select(given, 20)
    assert torch.equal(one.kept, other.kept) and one.labels.keys() == other.labels.keys()


@pytest.mark.parametrize("name", ["vscan", "vispruner", "fastv", "random", "grid", "trim"])
def test_as_little_as_possible_is_changed(name) -> None:
    given, method = signals(12), vc.REDUCERS[name]()
    kept = set(method.select(given, 40).kept.tolist())
    new, old = min(set(range(144)) - kept), max(kept)
    with_one = set(Forced(method, keep=[new]).select(given, 40).kept.tolist())
    assert with_one - kept == {new} and len(kept - with_one) == 1
    without = set(Forced(method, drop=[old]).select(given, 40).kept.tolist())
    assert kept - without == {old} and len(without - kept) == 1
    assert set(Forced(method, keep=[max(kept)]).select(given, 40).kept.tolist()) == kept


def test_the_least_valued_token_makes_room_and_the_next_one_comes_in() -> None:
    given = dataclasses.replace(signals(4), text=torch.arange(16) / 100)
    method = vc.reducers.FastV()
    assert method.select(given, 4).kept.tolist() == [12, 13, 14, 15]
    assert Forced(method, keep=[0]).select(given, 4).kept.tolist() == [0, 13, 14, 15]
    assert Forced(method, drop=[14]).select(given, 4).kept.tolist() == [11, 12, 13, 15]


@pytest.mark.parametrize("name", RUN)
@settings(deadline=None, max_examples=3)
@given(data=st.data())
def test_runs_of_the_model_obey_at_every_cut(mini, asked, name, data) -> None:
    places = data.draw(st.lists(st.integers(0, 575), unique=True, max_size=12))
    split = data.draw(st.integers(0, len(places)))
    into, out = places[:split], places[split:]
    method = vc.REDUCERS[name](data.draw(st.sampled_from([0.35, 0.4, 0.6])))
    plain, forced = run(mini, asked, method), run(mini, asked, Forced(method, keep=into, drop=out))
    image = forced.trace.images[0]
    assert [cut.layer for cut in image.cuts] == [cut.layer for cut in plain.trace.images[0].cuts]
    for cut, before in zip(image.cuts, plain.trace.images[0].cuts, strict=True):
        kept = set(cut.kept.tolist())
        assert set(into) <= kept and not kept & set(out) and len(kept) == len(before.kept)
        assert not into or cut.labels["forced"].tolist() == sorted(into)
    assert forced.trace.tokens_per_layer == plain.trace.tokens_per_layer


def test_a_token_outlives_the_cut_that_took_it(mini, asked) -> None:
    method = vc.VScan(1 / 9)
    first, second = run(mini, asked, method).trace.images[0].cuts
    gone = next(token for token in first.kept.tolist() if token not in second.kept.tolist())
    early, late = run(mini, asked, Forced(method, keep=[gone])).trace.images[0].cuts
    assert gone in early.kept.tolist() and gone in late.kept.tolist()
    assert (len(early.kept), len(late.kept)) == (96, 32)


@pytest.mark.parametrize("name", ["vscan", "grid", "fastv"])
def test_a_method_without_cuts_loses_only_what_is_forced_out(mini, asked, name) -> None:
    image = run(mini, asked, Forced(vc.REDUCERS[name](1.0), drop=range(100))).trace.images[0]
    assert [cut.layer for cut in image.cuts] == [0] and image.kept.tolist() == list(range(100, 576))


def test_more_forced_in_than_the_budget_is_kept_and_said(mini, asked) -> None:
    method = Forced(vc.VScan(1 / 9), keep=range(50))
    first, second = run(mini, asked, method).trace.images[0].cuts
    assert (len(first.kept), second.kept.tolist()) == (96, list(range(50)))
    assert "50 tokens" in method.excess(576, mini.anatomy) and "layer 3" in method.excess(576, mini.anatomy)
    assert Forced(vc.VScan(1 / 9), keep=range(20)).excess(576, mini.anatomy) == ""


def last_trace(lvlm, reducer):
    picture = Image.radial_gradient("L").convert("RGB").resize((150, 100))
    *_, done = vc.answer(lvlm, picture, "word5 word6", reducer, max_new_tokens=1)
    return done.answer.trace.images[0]


@pytest.mark.parametrize("name", ["llava_next", "llava_onevision", "internvl", "idefics3", "qwen2_5_vl"])
def test_tokens_of_any_family_are_those_of_the_trace(name) -> None:
    lvlm, method = lvlms.lvlm(name), vc.VScan(0.2, llm_keep={1: 0.5})
    image = last_trace(lvlm, method)
    first = set(image.cuts[0].kept.tolist())
    patches = [token for token in range(image.tokens) if int(image.tile_of[token]) >= 0]
    into = [token for token in patches if token not in first][::17]
    out = [token for token in patches if token in first][::3]
    cuts = last_trace(lvlm, Forced.on(image, method, keep=into, drop=out)).cuts
    assert [cut.layer for cut in cuts] == [0, 1] and out and into
    for cut in cuts:
        assert set(into) <= set(cut.kept.tolist()) and not set(cut.kept.tolist()) & set(out)
    everything = last_trace(lvlm, Forced.on(image, vc.REDUCERS["grid"](1.0), drop=out))
    assert set(everything.kept.tolist()) == set(range(image.tokens)) - set(out)


def test_several_tiles_are_never_taken_for_one() -> None:
    lvlm = lvlms.lvlm("llava_next")
    image = last_trace(lvlm, None)
    with pytest.raises(vc.InputError, match="1 tiles"):
        last_trace(lvlm, Forced(vc.VScan(0.2), drop=[0]))
    newline = next(token for token in range(image.tokens) if int(image.tile_of[token]) < 0)
    with pytest.raises(vc.InputError, match="newline"):
        Forced.on(image, vc.VScan(0.2), drop=[newline])
    with pytest.raises(vc.InputError, match="only the visual tokens"):
        Forced.on(image, vc.VScan(0.2), keep=[image.tokens])


def test_what_cannot_be_forced_is_refused_in_a_sentence(mini, asked) -> None:
    for wrong, sentence in (
        ({"keep": [3], "drop": [3]}, "in and out"),
        ({"keep": [-1]}, "negative"),
        ({"keep": [576]}, "0 to 575"),
        ({"drop": range(576)}, "at least one"),
    ):
        with pytest.raises(vc.InputError, match=sentence):
            run(mini, asked, Forced(vc.VScan(), **wrong))
    with pytest.raises(vc.InputError, match="inside the vision encoder"):
        run(mini, asked, Forced(vc.REDUCERS["tome"](), keep=[1]))
    with pytest.raises(vc.InputError, match="only a method"):
        Forced(None)


def test_it_is_a_setting_like_any_other() -> None:
    one, other = Forced(vc.VScan(), keep=[2, 1]), Forced(vc.VScan(), keep=(1, 2))
    assert one == other and len({one, other}) == 1 and one.retention == vc.VScan().retention
    assert hash(Forced(vc.VScan(), drop=[5])) != hash(one)
