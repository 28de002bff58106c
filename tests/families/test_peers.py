"""The peer methods on every other family: dropping equals hiding, budgets are kept, what cannot work is refused."""

from __future__ import annotations

import pytest
import torch

import vscan_core as vc
from tests.families import tiny
from tests.families.test_families import BATCHES, FAMILIES, check_hiding, generate, models
from vscan_core.reducers.apet import ApET
from vscan_core.reducers.dart import DART
from vscan_core.reducers.divprune import DivPrune
from vscan_core.reducers.downsample import Downsample
from vscan_core.reducers.fastervlm import FasterVLM
from vscan_core.reducers.fastv import FastV
from vscan_core.reducers.greedyprune import GreedyPrune
from vscan_core.reducers.grid import Grid
from vscan_core.reducers.hiprune import HiPrune
from vscan_core.reducers.holov import HoloV
from vscan_core.reducers.ivcprune import IVCPrune
from vscan_core.reducers.otprune import OTPrune
from vscan_core.reducers.pact import PACT
from vscan_core.reducers.prumerge import PruMerge
from vscan_core.reducers.prunesid import PruneSID
from vscan_core.reducers.pyramiddrop import PyramidDrop
from vscan_core.reducers.random import Random
from vscan_core.reducers.scope import SCOPE
from vscan_core.reducers.sparsevlm import SparseVLM
from vscan_core.reducers.tokentransforming import TokenTransforming
from vscan_core.reducers.tome import ToMe
from vscan_core.reducers.topv import TopV
from vscan_core.reducers.v2drop import V2Drop
from vscan_core.reducers.visionzip import VisionZip
from vscan_core.reducers.vispruner import VisPruner

__all__ = ["models"]  # the fixture
NAMES = ("llava_next", "qwen2_5_vl")  # tiles and newlines; windows and M-RoPE
METHODS = [
    *(
        kind(retention=0.3)
        for kind in (DivPrune, FasterVLM, Grid, HiPrune, HoloV, OTPrune, Random, SCOPE, VisPruner, PruneSID)
    ),
    FastV(retention=0.6),
    FastV(layer=1, keep=9),
    GreedyPrune(retention=0.6, threshold=0.3),
    DART(retention=0.6),
    DART(retention=0.6, layer=1, text_pivots=2, rope_in_scores=False),
    IVCPrune(retention=0.6),
    TopV(retention=0.6),
    PACT(retention=0.6, recycle=False),
    PyramidDrop(retention=0.6),
    V2Drop(retention=0.6),
    SparseVLM(retention=0.6, recycle=False),
]
LACKING = ("visionzip", "prumerge", "tome", "trim", "cdpruner")  # need more than Qwen's vision side gives


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_dropping_equals_hiding(models, name, method) -> None:
    published = vc.Anatomy(5, 3, 6, 1, positions="original" if "qwen" in name else "renumbered")
    renumbered = method.position_mode(published) == "renumbered"
    check_hiding(models[name], name, BATCHES[name][2], method, renumbered)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_fastv_scores_are_the_attention_of_the_layer_before(name) -> None:
    make, inputs_of = FAMILIES[name]
    model, inputs = make("eager"), inputs_of(BATCHES[name][0])
    attention = model(**inputs, output_attentions=True).attentions[1][0].mean(0)[-1]
    with vc.reduced(model, FastV(keep=9)) as trace:
        model(**inputs)
    scores = trace.images[0].cuts[0].scores["text"]
    torch.testing.assert_close(scores, attention[inputs["input_ids"][0] == tiny.IMAGE], atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", [m for m in METHODS if not isinstance(m, FastV) or m.keep is None], ids=str)
@torch.no_grad()
def test_spends_the_asked_average(models, method) -> None:
    inputs = FAMILIES["qwen2_5_vl"][1]([[(12, 16)]])
    with vc.reduced(models["qwen2_5_vl"], method) as trace:
        models["qwen2_5_vl"](**inputs)
    assert abs(sum(trace.visual_tokens_per_layer) / 6 - method.retention * 48) <= 1


@pytest.mark.parametrize(
    "method",
    [
        *(kind(retention=0.3) for kind in (VisionZip, PruMerge, Downsample, ToMe, TokenTransforming)),
        SparseVLM(retention=0.6),
        PACT(retention=0.8),
        ApET(retention=0.4),
        HoloV(retention=0.8, runs=3, released=True),
    ],
    ids=str,
)
@torch.no_grad()
def test_merging_methods_work_on_tiles(models, method) -> None:
    inputs = FAMILIES["llava_next"][1](BATCHES["llava_next"][2])
    out, trace = generate(models["llava_next"], inputs, method)
    assert all(step.isfinite().all() for step in out.logits)
    assert all(image.cuts for image in trace.images)


@pytest.mark.parametrize("method", [vc.REDUCERS[name]() for name in LACKING], ids=str)
def test_what_the_family_lacks_is_refused_in_one_sentence(models, method) -> None:
    model = models["qwen2_5_vl"]
    before = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    with pytest.raises(vc.InputError, match="choose another method"), vc.reduced(model, method):
        pass
    after = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    assert before == after


@torch.no_grad()
def test_tokentransforming_works_where_features_come_behind_the_merger(models) -> None:
    model, inputs = models["qwen2_5_vl"], FAMILIES["qwen2_5_vl"][1]([[(12, 16)]])
    with vc.reduced(model, TokenTransforming(retention=0.25)) as trace:
        assert model(**inputs).logits.isfinite().all()
    assert len(trace.images[0].kept) == 12


@torch.no_grad()
def test_downsample_averages_the_picture_where_rows_come_in_another_order(models) -> None:
    model, inputs = models["qwen2_5_vl"], FAMILIES["qwen2_5_vl"][1]([[(12, 16)]])
    with vc.reduced(model, Downsample(retention=0.25)) as trace:
        assert model(**inputs).logits.isfinite().all()
    assert (
        trace.images[0].cuts[0].kept.tolist()
        == Grid().select(vc.Signals(torch.ones(48, 1), grid=(6, 8)), 12).kept.tolist()
    )
