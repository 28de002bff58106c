"""Parity with the released VScan code, on vectors that it made: tests/golden/README.md."""

from __future__ import annotations

import pytest
import torch
from transformers import LlavaForConditionalGeneration

import vscan_core as vc
from tests.conftest import GOLDEN, golden, greedy
from vscan_core import geometry
from vscan_core.reducers.vscan import capped_scan, window_scan

LLAVA, TENSORS = golden("llava15")
FUNCTIONS, PARTS = golden("vscan_functions")
IMAGE_TOKEN, STEPS = 319, 8


def functions(method: str) -> list:
    return [pytest.param(case, id=case["id"]) for case in FUNCTIONS["cases"] if case["method"] == method]


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request):
    return LlavaForConditionalGeneration.from_pretrained(
        GOLDEN / "hf_llava15", dtype=torch.float32, attn_implementation=request.param
    ).eval()


def inputs_of(case) -> dict[str, torch.Tensor]:
    small = TENSORS[f"img.{case['image']}.small"].float()
    pixels = ((small - 128) / 64).repeat_interleave(7, -2).repeat_interleave(7, -1)
    ids = TENSORS[f"prompt.{case['prompt']}.ids"]
    place = int((ids == -200).nonzero())
    ids = torch.cat([ids[:place], torch.full((576,), IMAGE_TOKEN), ids[place + 1 :]])[None]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


@pytest.mark.parametrize("case", LLAVA["cases"], ids=lambda case: case["id"])
def test_llava_end_to_end(model, case) -> None:
    name = case["id"]
    method = vc.VScan(
        encoder_keep=case["visual_token_num"],
        llm_keep=dict(zip(case["layer_list"], case["image_token_list"], strict=True)),
        local_layer=5,
        refill=False,
    )
    out, trace = greedy(model, method, inputs_of(case), STEPS)
    torch.testing.assert_close(torch.cat(out.logits), TENSORS[f"{name}.step_logits"], atol=2e-4, rtol=0)
    torch.testing.assert_close(out.logits[0][0], TENSORS[f"{name}.logits_last"], atol=2e-4, rtol=0)
    assert torch.equal(out.sequences[0, -STEPS:], TENSORS[f"{name}.tokens"])
    _check_encoder_cut(name, trace.images[0])
    _check_llm_cuts(name, trace.images[0])
    assert trace.tokens_per_layer[0] == case["len_into_llm"]


def _check_encoder_cut(name, image) -> None:
    expected = TENSORS[f"{name}.keep_idx"]
    cuts = [cut for cut in image.cuts if cut.layer == 0]
    if not cuts:
        assert len(expected) == image.tokens
        return
    (cut,) = cuts
    assert torch.equal(cut.kept, expected)
    for label in ("local", "global"):
        assert torch.equal(cut.labels[label], TENSORS[f"{name}.{label}_idx"].sort().values)
    dropped = (cut.merged_into >= 0).nonzero()[:, 0]
    assert torch.equal(cut.merged_into[dropped], cut.kept[TENSORS[f"{name}.assign"]])
    source = f"img.{name.split('.')[1][0]}"
    for label, golden_name in (("local", "cls_attn_shallow"), ("global", "cls_attn_deep")):
        torch.testing.assert_close(cut.scores[label], TENSORS[f"{source}.{golden_name}"], atol=2e-6, rtol=0)


def _check_llm_cuts(name, image) -> None:
    later = [cut for cut in image.cuts if cut.layer > 0]
    for number, cut in enumerate(later):
        assert torch.equal(cut.kept, TENSORS[f"{name}.stage2_{number}.keep_patch"])
        scores = cut.scores["text"]
        expected = TENSORS[f"{name}.stage2_{number}.score"]
        torch.testing.assert_close(scores[~scores.isnan()], expected, atol=2e-6, rtol=0)
    assert f"{name}.stage2_{len(later)}.score" not in TENSORS


@torch.no_grad()
def test_merged_features_enter_the_llm(model) -> None:
    case = next(case for case in LLAVA["cases"] if case["id"] == "llava15.AP1.avg64")
    seen = []
    method = vc.VScan(encoder_keep=96, llm_keep={16: 32}, local_layer=5, refill=False)
    with vc.reduced(model, method):
        hook = model.model.language_model.layers[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        model(**inputs_of(case))
        hook.remove()
    torch.testing.assert_close(seen[0][0], TENSORS["llava15.AP1.avg64.inputs_embeds"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", functions("VScan-LLaVA stage1"))
def test_stage_one(case) -> None:
    for row in range(2):
        signals = vc.Signals(
            projected=PARTS["vscan.features"][row],
            cls_attention={5: PARTS["vscan.attn_shallow"][row], 22: PARTS["vscan.attn_deep"][row]},
            grid=(24, 24),
        )
        chosen = vc.VScan(refill=False).select(signals, case["T"])
        assert torch.equal(chosen.kept, PARTS[f"{case['id']}.keep_idx"][row])
        merged = chosen.apply(signals.projected)
        torch.testing.assert_close(merged, PARTS[f"{case['id']}.merged"][row], atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", functions("VScan window top-k"))
def test_window_scan(case) -> None:
    table = geometry.Windows.of_grid(24, 24, case["window"], torch.device("cpu"))
    for row in range(2):
        picked = window_scan(PARTS["vscan.attn_shallow"][row].mean(0), table, case["n"], refill=False)
        assert torch.equal(picked, PARTS[f"{case['id']}.idx"][row])


@pytest.mark.parametrize("case", functions("VScan merging"))
def test_merging(case) -> None:
    for row in range(2):
        kept = PARTS["vscan.merge.mask"][row].nonzero()[:, 0]
        features = PARTS["vscan.features"][row]
        merged = geometry.merge(features, kept, geometry.nearest_kept(features, kept), weight=case["scaling"])
        torch.testing.assert_close(merged, PARTS[f"{case['id']}.out"][row], atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", functions("VScan-Qwen window selection"))
def test_capped_scan(case) -> None:
    scores = PARTS[f"vscan.qwen.{case['id'].split('.')[2]}.attn"]
    picked = capped_scan(scores, geometry.Windows.of_grid(case["h"], case["w"], 4, scores.device), case["n"])
    assert torch.equal(picked, PARTS[f"{case['id']}.idx"].long())


def test_every_case_is_used() -> None:
    assert len(LLAVA["cases"]) == 22
    known = {"VScan-LLaVA stage1", "VScan window top-k", "VScan merging", "VScan-Qwen window selection"}
    assert {case["method"] for case in FUNCTIONS["cases"]} == known | {"VScan-Qwen merging"}
    kept = PARTS["vscan.qwen.merge.keep"]
    features = PARTS["vscan.qwen.merge.features"]
    merged = geometry.merge(features, kept, geometry.nearest_kept(features, kept))
    torch.testing.assert_close(merged, PARTS["vscan.qwen.merge.out"], atol=1e-5, rtol=0)
