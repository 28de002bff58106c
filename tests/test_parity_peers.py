"""Parity with the released code of the peer methods, on vectors that it made: tests/golden/README.md."""

from __future__ import annotations

import pytest
import torch

import vscan_core as vc
from tests.conftest import golden, greedy
from tests.test_parity_vscan import STEPS, TENSORS, inputs_of, model
from vscan_core import geometry
from vscan_core.reducers.cdpruner import CDPruner, similarity
from vscan_core.reducers.divprune import DivPrune, farthest
from vscan_core.reducers.fastervlm import FasterVLM
from vscan_core.reducers.fastv import FastV
from vscan_core.reducers.pyramiddrop import PyramidDrop
from vscan_core.reducers.sparsevlm import SparseVLM
from vscan_core.reducers.trim import Trim
from vscan_core.reducers.visionzip import VisionZip
from vscan_core.reducers.vispruner import VisPruner

__all__ = ["model"]  # the fixture
FUNCTIONS, PARTS = golden("functions")
PDROP, RECORDED = golden("pyramiddrop")
assert TENSORS  # images and prompts of the end-to-end runs


def cases(method: str) -> list:
    return [pytest.param(case, id=case["id"]) for case in FUNCTIONS["cases"] if case["method"] == method]


@pytest.mark.parametrize("case", cases("VisPruner"))
@pytest.mark.parametrize("row", [0, 1])
def test_vispruner(case, row) -> None:
    signals = vc.Signals(
        features=PARTS["vispruner.features"][row], cls_attention={22: PARTS["vispruner.cls_attention"][row]}
    )
    chosen = VisPruner(important_share=case["important_ratio"]).select(signals, case["visual_token_num"])
    assert torch.equal(chosen.kept, PARTS[f"{case['id']}.keep_idx"][row])
    assert len(chosen.labels["global"]) == case["n_important"]
    if case["important_ratio"] == 1:
        assert torch.equal(FasterVLM().select(signals, case["visual_token_num"]).kept, chosen.kept)


@pytest.mark.parametrize("case", cases("VisionZip"))
@pytest.mark.parametrize("row", [0, 1])
def test_visionzip(case, row) -> None:
    hidden = PARTS["visionzip.hidden"][row]
    signals = vc.Signals(
        features=hidden[1:],
        keys=PARTS["visionzip.metric"][row, 1:],
        cls_attention={22: PARTS["visionzip.cls_row"][row, :, 1:]},
    )
    dominant, contextual = case["dominant"] - 1, case["contextual"]  # the released count includes CLS
    chosen = VisionZip(contextual=contextual, released=True).select(signals, dominant + contextual)
    ranked = PARTS[f"{case['id']}.indices"][row]
    assert torch.equal(chosen.labels["global"], (ranked[1:] - 1).sort().values)
    rows = {int(token): row for token, row in zip(chosen.kept, chosen.apply(signals.features), strict=True)}
    out = [hidden[0], *(rows[int(token)] for name in ("global", "contextual") for token in chosen.labels[name])]
    torch.testing.assert_close(torch.stack(out), PARTS[f"{case['id']}.out"][row], atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", cases("DivPrune"))
def test_divprune(case) -> None:
    order = PARTS[f"{case['id']}.order"]
    features = PARTS["divprune.features"]
    assert torch.equal(farthest(features, case["n"]), order)
    assert torch.equal(DivPrune().select(vc.Signals(projected=features), case["n"]).kept, order.sort().values)


@pytest.mark.parametrize("case", cases("CDPruner"))
def test_cdpruner(case) -> None:
    images = {"b0": [0], "b1": [1], "b0m2": [0], "batch2": [0, 1]}[case["images"]]
    text = PARTS["cdpruner.text_embeds"]  # two pieces; all but one set use the first alone
    text = text if case["images"] == "b0m2" else text[:1]
    patches = PARTS["cdpruner.image_embeds"][images]
    relevance = torch.stack([-similarity(rows, text) for rows in patches])
    method = CDPruner(span=(relevance.min().item(), relevance.max().item()))  # as released: over the batch
    for row, image in enumerate(images):
        signals = vc.Signals(projected=PARTS["cdpruner.features"][image], joint_patches=patches[row], joint_text=text)
        chosen = method.select(signals, case["T"])
        assert torch.equal(chosen.kept, PARTS[f"{case['id']}.keep_idx"][row])
        if len(images) == 1:
            assert torch.equal(CDPruner().select(signals, case["T"]).kept, chosen.kept)


@pytest.mark.parametrize("case", cases("TRIM"))
def test_trim(case) -> None:
    score, out = PARTS[f"{case['id']}.score"], PARTS[f"{case['id']}.out"]
    if case["k"] == "-1":  # the adaptive rule, over the whole batch as released
        assert int(geometry.outliers(score).sum()) // len(score) == case["n_kept"]
    for row in range(len(out)):
        features = PARTS["trim.features"][row]
        normed = torch.nn.functional.layer_norm(
            features, (32,), PARTS["trim.ln_weight"], PARTS["trim.ln_bias"], eps=1e-5
        )
        signals = vc.Signals(
            features=features, joint_patches=normed @ PARTS["trim.proj"].T, joint_text=PARTS["trim.text"][row : row + 1]
        )
        chosen = Trim().select(signals, case["n_kept"] + 1)
        torch.testing.assert_close(chosen.scores["text"], score[row], atol=2e-6, rtol=0)
        rows = {int(token): row for token, row in zip(chosen.kept, chosen.apply(features), strict=True)}
        ours = torch.stack([rows[int(token)] for name in ("text", "rest") for token in chosen.labels[name]])
        torch.testing.assert_close(ours.half(), out[row], atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("case", cases("FastV"))
def test_fastv(case) -> None:
    start, tokens = case["image_start"], case["image_len"]
    text = PARTS["fastv.last_row"].mean(0)[start : start + tokens]
    keep = FastV(keep=1 - case["drop_ratio"]).schedule(tokens, ANATOMY)[2]
    positions = torch.arange(case["seq_len"])
    kept = FastV().select_in_llm(vc.Signals(text=text), case["n_image_kept"]).kept
    assert abs(keep - case["n_image_kept"]) <= 1  # a share of 1/3 is not exact in binary
    expected = torch.cat([positions[:start], start + kept, positions[start + tokens :]])
    assert torch.equal(expected, PARTS[f"{case['id']}.keep_positions"])


@pytest.mark.parametrize("case", cases("SparseVLM"))
def test_sparsevlm(case) -> None:
    embeds, image = PARTS["sparsevlm.embeds"][0], slice(35, 611)
    query_tokens = SparseVLM().query_tokens(embeds[image], embeds[611:]).nonzero()[:, 0]
    assert torch.equal(query_tokens, PARTS["sparsevlm.text_raters"])
    text = PARTS["sparsevlm.text_rows"][:, query_tokens, image].mean((0, 1))
    torch.testing.assert_close(text, PARTS[f"sparsevlm.v{case['version']}.relation"], atol=2e-6, rtol=0)
    name, merges_in_llm = case["id"], "cluster_num" in case
    before, after = PARTS["sparsevlm.layer_out"][0, :35], PARTS["sparsevlm.layer_out"][0, 611:]
    signals = vc.Signals(text=text, hidden=PARTS["sparsevlm.layer_out"][0, image])
    method = SparseVLM(recycle=merges_in_llm, layers=(3,), keep=(case["n_kept"],))
    total = method.schedule(576, ANATOMY)[3]
    assert total == case["n_kept"] + case.get("cluster_num", 0)
    chosen = method.select_in_llm(signals, total)
    assert torch.equal(chosen.labels["text"], PARTS[f"{name}.keep_idx"])
    if not merges_in_llm:
        return
    out = PARTS[f"{name}.sequence_out"]
    rows = {int(token): row for token, row in zip(chosen.kept, chosen.apply(signals.hidden), strict=True)}
    kept = torch.stack([rows[int(token)] for token in chosen.labels["text"]])
    merged = torch.stack([rows[int(token)] for token in chosen.labels["recycled"]])
    expected = out[35 + len(kept) : len(out) - len(after)]  # in the order of the clusters; ours in the picture's
    order = torch.cdist(merged, expected).argmin(1)
    assert torch.equal(order.sort().values, torch.arange(case["cluster_num"]))
    torch.testing.assert_close(
        torch.cat([before, kept, merged, after]),
        torch.cat([out[: 35 + len(kept)], expected[order], after]),
        atol=1e-4,
        rtol=0,
    )
    assert int((chosen.merged_into >= 0).sum()) == case["n_recycled"] - case["cluster_num"]


ANATOMY = vc.Anatomy(vision_layers=24, feature_layer=22, text_layers=32, shallow_layer=5)


@pytest.mark.parametrize("case", PDROP["cases"], ids=lambda case: case["id"])
def test_pyramiddrop_end_to_end(model, case) -> None:
    name, shares = case["id"], case["image_token_ratio_list_effective"][1:]
    method = PyramidDrop(layers=tuple(case["layer_list"]), shares=tuple(shares))
    out, trace = greedy(model, method, inputs_of(case), STEPS)
    torch.testing.assert_close(torch.cat(out.logits), RECORDED[f"{name}.step_logits"], atol=2e-4, rtol=0)
    torch.testing.assert_close(out.logits[0][0], RECORDED[f"{name}.logits_last"], atol=2e-4, rtol=0)
    assert torch.equal(out.sequences[0, -STEPS:], RECORDED[f"{name}.tokens"])
    (image,) = trace.images
    assert [cut.layer for cut in image.cuts] == case["layer_list"]
    for number, (cut, stage) in enumerate(zip(image.cuts, case["stages"], strict=True)):
        assert len(cut.kept) == stage["n_kept"]
        assert torch.equal(cut.kept, RECORDED[f"{name}.stage{number}.keep_patch"])
        scores = cut.scores["text"]
        torch.testing.assert_close(scores[~scores.isnan()], RECORDED[f"{name}.stage{number}.score"], atol=2e-6, rtol=0)
