"""Two methods as one: the pair equals the masked recompute of both, and its budgets add up."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import vscan_core as vc
from tests.conftest import prompt, tiny_llava
from tests.engine.test_reduced_peers import check, slow_signals
from tests.families.test_families import BATCHES, FAMILIES, models
from tests.reducers.test_examination import ANATOMY
from tests.reference import peers_slow
from vscan_core.reducers.divprune import DivPrune
from vscan_core.reducers.fastv import FastV
from vscan_core.reducers.grid import Grid
from vscan_core.reducers.pyramiddrop import PyramidDrop
from vscan_core.reducers.random import Random
from vscan_core.reducers.sparsevlm import SparseVLM
from vscan_core.reducers.visionzip import VisionZip
from vscan_core.reducers.vispruner import VisPruner
from vscan_core.reducers.vscan import VScan

__all__ = ["models"]  # the fixture


@pytest.mark.parametrize("images", [[1], [0, 2, 1]], ids=str)
@pytest.mark.parametrize(
    ("second", "settings"),
    [
        (FastV(keep=6), {"later": {2: 6}, "ahead": True, "renumber": False}),
        (PyramidDrop(layers=(1, 4), shares=(0.7, 0.4)), {"later": {1: 11, 4: 6}}),
        (SparseVLM(layers=(2,), retention=0.6), {"later": {2: 6}, "ahead": True, "sparse": True}),
    ],
    ids=str,
)
@torch.no_grad()
def test_pair_equals_masked_recompute(llava, second, settings, images) -> None:
    def entrance_of(pixels):
        features, _, scores, _ = slow_signals(llava, pixels)

        def entrance(image):
            kept = peers_slow.vispruner(features[image], scores[image], 16)
            return kept, llava.model.multi_modal_projector(features[image][kept])

        return entrance

    pair = VisPruner(retention=16 / 36).then(second)
    assert pair.schedule(36, vc.Anatomy(5, 3, 6, 1)) == {0: 16, **settings["later"]}
    check(llava, prompt(images), pair, settings, entrance_of)


@pytest.mark.parametrize("first", [DivPrune, VisPruner, VisionZip, Random, Grid])
@pytest.mark.parametrize("second", [FastV, PyramidDrop, SparseVLM])
@torch.no_grad()
def test_retentions_multiply(first, second) -> None:
    model, pair = tiny_llava(layers=8), vc.Then(first(retention=0.7), second(retention=0.5))
    assert pair.retention == pytest.approx(0.35)
    with vc.reduced(model, pair) as trace:
        model(**prompt([1]))
    spent = sum(trace.visual_tokens_per_layer) / 8 / 36
    assert spent == pytest.approx(pair.spends(36, vc.Anatomy(5, 3, 8, 1))) and abs(spent - 0.35) <= 1 / 36
    assert [cut.layer for cut in trace.images[0].cuts] == sorted(cut.layer for cut in trace.images[0].cuts)


@pytest.mark.parametrize("name", ["llava_next", "qwen2_5_vl"])
@torch.no_grad()
def test_pair_on_other_families(models, name) -> None:
    pair = Grid(retention=0.3).then(SparseVLM(retention=0.6))
    with vc.reduced(models[name], pair) as trace:
        assert models[name](**FAMILIES[name][1](BATCHES[name][2])).logits.isfinite().all()
    assert all({cut.layer for cut in image.cuts} >= {0, 1} for image in trace.images)


def test_the_first_cut_does_not_ask_the_second_about_one_tile() -> None:
    pair = Grid(retention=0.05).then(FastV(layer=2, retention=0.1))
    assert pair.at_entrance(36, ANATOMY) == 2
    with pytest.raises(vc.InputError, match="the least is"):
        pair.schedule(36, ANATOMY)
    assert pair.schedule(36, ANATOMY, tiles=50) == {0: 2, 2: 4}


def test_examples_of_docstrings() -> None:
    pair = vc.Then(VisPruner(retention=1 / 3), FastV(retention=1 / 2))
    assert pair == VisPruner(retention=1 / 3).then(FastV(retention=1 / 2))
    assert pair.schedule(576, ANATOMY) == {0: 192, 2: 90}
    assert pair.cut_layers(ANATOMY) == (0, 2)
    assert pair.retention == pytest.approx(1 / 6) and abs(pair.spends(576, ANATOMY) - 1 / 6) < 1 / 576
    assert pair.spends(576, ANATOMY, tiles=5) == pytest.approx(1 / 6, abs=1e-3)
    assert FastV(keep=9).spends(576, ANATOMY) == pytest.approx((2 * 576 + 30 * 9) / 32 / 576)


def test_positions_have_one_mode() -> None:
    assert VisPruner().then(FastV()).position_mode(ANATOMY) == "original"
    assert VisPruner().then(PyramidDrop()).position_mode(ANATOMY) == "renumbered"
    assert VisPruner(positions="original").then(PyramidDrop()).position_mode(ANATOMY) == "original"
    pair = vc.Then(VisPruner(), FastV(), positions="renumbered", rope_in_scores=False)
    assert pair.position_mode(ANATOMY) == "renumbered" and not pair.uses_rope(ANATOMY)
    assert VisPruner().then(FastV()).uses_rope(dataclasses.replace(ANATOMY, rope_in_scores=False))


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (FastV(retention=0.5), PyramidDrop(retention=0.5), "first of a pair"),
        (VScan(), FastV(retention=0.5), "first of a pair"),
        (VisPruner(), DivPrune(), "second of a pair"),
    ],
)
def test_pairs_that_cannot_be_are_refused_in_one_sentence(sdpa_llava, first, second, sentence) -> None:
    with pytest.raises(vc.InputError, match=sentence), vc.reduced(sdpa_llava, first.then(second)):
        pass
    with pytest.raises(vc.InputError, match="two reducers"):
        vc.Then(first, "fastv")
