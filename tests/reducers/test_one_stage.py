"""In an engine that cuts only at the entrance of the LLM, a method says what becomes of it, and keeps its retention."""

from __future__ import annotations

from functools import lru_cache

import pytest

import vscan_core as vc
from tests.families import lvlms
from vscan_core.reducers import Forced, Then
from vscan_core.reducers.fastv import FastV
from vscan_core.reducers.pyramiddrop import PyramidDrop
from vscan_core.reducers.table import TRIED_ON as ANATOMY
from vscan_core.reducers.visionzip import VisionZip
from vscan_core.reducers.vispruner import VisPruner
from vscan_core.serving import one_stage

INSIDE = ("fastv", "pyramiddrop", "sparsevlm", "pact", "topv", "greedyprune", "dart", "v2drop", "ivcprune")
PAIR = Then(VisPruner(1 / 3), PyramidDrop(1 / 2))


@pytest.mark.parametrize("name", vc.REDUCERS)
@pytest.mark.parametrize("retention", [0.05, 1 / 9, 0.5])
def test_it_keeps_its_retention_at_the_entrance_or_is_refused(name, retention) -> None:
    reducer = vc.REDUCERS[name](retention=retention)
    if name in INSIDE:
        with pytest.raises(vc.InputError, match=f"^{reducer.title} cuts inside the language model, and"):
            one_stage(reducer, ANATOMY)
        return
    alone, sentence = one_stage(reducer, ANATOMY)
    assert alone.demands(ANATOMY).entrance_only
    assert alone.at_entrance(576, ANATOMY) == pytest.approx(retention * 576, abs=1)
    assert alone.spends(576, ANATOMY) == pytest.approx(retention, abs=1 / 576)
    assert (alone == reducer) == (sentence is None) == (name not in ("vscan", "apet"))
    assert one_stage(alone, ANATOMY) == (alone, None)


@pytest.mark.parametrize(
    ("reducer", "becomes", "sentence"),
    [
        (
            vc.VScan(1 / 9),
            vc.VScan(1 / 9, encoder_keep=1 / 9, llm_keep={}),
            "the language model, so the cut at layer 16 is left out: VScan keeps 11.1% of visual tokens there",
        ),
        (  # two thirds more than its retention, if nobody said so
            vc.VScan(1 / 9, llm_keep={}),
            vc.VScan(1 / 9, encoder_keep=1 / 9, llm_keep={}),
            "the language model: VScan keeps 11.1% of visual tokens there",
        ),
        (
            vc.VScan(encoder_keep=96, llm_keep={8: 40, 16: 20}),
            vc.VScan(encoder_keep=96, llm_keep={}),
            "so the cuts at layers 8, 16 are left out: VScan keeps 96 visual tokens of each image or tile there",
        ),
        (
            PAIR,
            VisPruner(1 / 3),
            "so the cuts at layers 8, 16, 24 are left out: VisPruner keeps 33.3% of visual tokens there",
        ),
        (
            Forced(vc.VScan(1 / 9), keep=(3,)),
            Forced(vc.VScan(1 / 9, encoder_keep=1 / 9, llm_keep={}), keep=(3,)),
            "the cut at layer 16 is left out: Forced keeps 11.1% of visual tokens there",
        ),
        (vc.VScan(1 / 9, encoder_keep=96, llm_keep={}), vc.VScan(1 / 9, encoder_keep=96, llm_keep={}), None),
        (vc.VScan(1.0), vc.VScan(1.0), None),
        (VisionZip(1 / 9), VisionZip(1 / 9), None),
        (Forced(VisPruner(1 / 9), drop=(3,)), Forced(VisPruner(1 / 9), drop=(3,)), None),
        (FastV(1.0), FastV(1.0), None),
    ],
    ids=repr,
)
def test_what_becomes_of_it(reducer, becomes, sentence) -> None:
    alone, said = one_stage(reducer, ANATOMY)
    assert alone == becomes
    assert said == sentence or (
        said.startswith("this engine cuts only at the entrance of ") and said.endswith(sentence)
    )


@pytest.mark.parametrize("reducer", [Forced(FastV(0.5), drop=(3,)), Then(FastV(0.5), PyramidDrop(0.5))], ids=repr)
def test_what_is_left_of_a_method_inside_the_llm_is_nothing(reducer) -> None:
    with pytest.raises(vc.InputError, match="cuts inside the language model"):
        one_stage(reducer, ANATOMY)


def test_methods_are_keys_of_caches_with_whatever_settings() -> None:
    methods = {
        one_stage(method(), lvlms.lvlm("llava").anatomy)[0]
        for name, method in vc.REDUCERS.items()
        if name not in (*INSIDE, "tome")
    }
    cached = lru_cache(lambda reducer: reducer.retention)
    for one in (*methods, vc.VScan(llm_keep={}), vc.VScan(llm_keep={4: 0.5}), PAIR, Forced(VisPruner(), keep=[3])):
        assert cached(one) == one.retention and one in {one}
    assert vc.VScan(llm_keep={}) in {vc.VScan(llm_keep={})} and vc.VScan() not in {vc.VScan(llm_keep={})}
