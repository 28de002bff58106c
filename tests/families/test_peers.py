"""The peer methods on every other family: dropping equals hiding, budgets are kept, what cannot work is refused."""

from __future__ import annotations

import pytest
import torch

import vscan_core as vc
from tests.families import tiny
from tests.families.test_families import BATCHES, FAMILIES, STEPS, generate, models, slice_of, whole_prompt
from tests.reference import hidden
from vscan_core.reducers import (
    DivPrune,
    FasterVLM,
    FastV,
    Grid,
    PruMerge,
    PyramidDrop,
    Random,
    SparseVLM,
    VisionZip,
    VisPruner,
)

__all__ = ["models"]  # the fixture
METHODS = [
    *(kind(retention=0.3) for kind in (DivPrune, FasterVLM, Grid, Random, VisPruner)),
    FastV(retention=0.6),
    FastV(layer=1, keep=9),
    PyramidDrop(retention=0.6),
    SparseVLM(retention=0.6, recycle=False),
]


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_dropping_equals_hiding(models, name, method) -> None:
    model, rows = models[name], BATCHES[name][2]
    inputs = FAMILIES[name][1](rows)
    out, trace = generate(model, inputs, method)
    images, start = list(trace.images), 0
    renumber = method.position_mode(vc.Anatomy(5, 3, 6, 1, positions="original" if "qwen" in name else "renumbered"))
    for i, row in enumerate(rows):
        mine = images[start : start + len(row)]
        ids = inputs["input_ids"][i][inputs["attention_mask"][i].bool()]
        ids = torch.cat([ids, out.sequences[i, -STEPS:-1]])
        embeds, columns, positions = whole_prompt(name, model, ids, slice_of(name, inputs, rows, i))
        full = torch.arange(len(ids))[None] if positions is None else positions

        def place(alive, full=full):
            return alive.long().cumsum(0)[None] - 1 if renumber == "renumbered" else full

        expected = hidden.logits(model, embeds, columns, mine, place)[-STEPS:]
        got = torch.stack([step[i] for step in out.logits])
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
        start += len(row)
    assert start == len(images) and any(image.cuts for image in images)


@pytest.mark.parametrize("name", FAMILIES)
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
    "method", [VisionZip(retention=0.3), PruMerge(retention=0.3), SparseVLM(retention=0.6)], ids=str
)
@torch.no_grad()
def test_merging_methods_work_on_tiles(models, method) -> None:
    inputs = FAMILIES["llava_next"][1](BATCHES["llava_next"][2])
    out, trace = generate(models["llava_next"], inputs, method)
    assert all(step.isfinite().all() for step in out.logits)
    assert all(image.cuts for image in trace.images)


@pytest.mark.parametrize("method", [VisionZip(), PruMerge(), vc.REDUCERS["trim"](), vc.REDUCERS["cdpruner"]()], ids=str)
def test_what_the_family_lacks_is_refused_in_one_sentence(models, method) -> None:
    model = models["qwen2_5_vl"]
    before = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    with pytest.raises(vc.InputError, match="choose another one"), vc.reduced(model, method):
        pass
    after = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    assert before == after
