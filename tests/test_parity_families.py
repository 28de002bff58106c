"""Parity of LLaVA-NeXT and Qwen2.5-VL with the released VScan code: tests/golden/README.md.

The `script96` cases of LLaVA-NeXT record a bug of the released evaluation script and are not reproduced.
"""

from __future__ import annotations

import pytest
import torch
from transformers import LlavaNextForConditionalGeneration, Qwen2_5_VLForConditionalGeneration

import vscan_core as vc
from tests.conftest import GOLDEN, golden, greedy

NEXT, NEXT_TENSORS = golden("llavanext")
QWEN, QWEN_TENSORS = golden("qwen25vl")
STEPS = 8


def cells(small: torch.Tensor) -> torch.Tensor:
    """uint8 cells -> normalised pixels, every cell 7 x 7."""
    return ((small.float() - 128) / 64).repeat_interleave(7, -2).repeat_interleave(7, -1)


def check_generated(out, name, tensors) -> None:
    torch.testing.assert_close(torch.cat(out.logits), tensors[f"{name}.step_logits"], atol=2e-4, rtol=0)
    assert torch.equal(out.sequences[0, -STEPS:], tensors[f"{name}.tokens"])


def check_score(cut, expected) -> None:
    scores = cut.scores["text"]
    torch.testing.assert_close(scores[~scores.isnan()], expected, atol=2e-6, rtol=0)


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def llava_next(request):
    return LlavaNextForConditionalGeneration.from_pretrained(
        GOLDEN / "hf_llavanext", dtype=torch.float32, attn_implementation=request.param
    ).eval()


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def qwen(request):
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(
        GOLDEN / "hf_qwen25vl", dtype=torch.float32, attn_implementation=request.param
    ).eval()


@pytest.mark.parametrize("case", [c for c in NEXT["cases"] if "script" not in c["id"]], ids=lambda case: case["id"])
def test_llava_next(llava_next, case) -> None:
    name, image = case["id"], case["image"]
    whole = NEXT_TENSORS[f"next.{image}.base576.origin"]
    ids = NEXT_TENSORS["prompt.ids"]
    place = int((ids == -200).nonzero())
    ids = torch.cat([ids[:place], torch.full((len(whole),), 319), ids[place + 1 :]])[None]
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": cells(NEXT_TENSORS[f"img.{image}.small"])[None],
        "image_sizes": torch.tensor([case["image_size_wh"][::-1]]),
    }
    later = {case["layer_list"][0]: case["image_token_list_effective"][1]} if case["layer_list"] else {}
    method = vc.VScan(encoder_keep=case["visual_token_num"], llm_keep=later, local_layer=5, refill=False)
    out, trace = greedy(llava_next, method, inputs)
    check_generated(out, name, NEXT_TENSORS)
    (seen,) = trace.images
    cuts = {cut.layer: cut for cut in seen.cuts}
    first = cuts[0].kept if 0 in cuts else torch.arange(seen.tokens)
    assert seen.tokens == len(whole) and torch.equal(whole[first], NEXT_TENSORS[f"{name}.origin"])
    assert trace.tokens_per_layer[0] == case["len_into_llm"]
    if 0 in cuts:
        check_tiles(name, cuts[0], whole)
    if later:
        assert torch.equal(cuts[16].kept, first[NEXT_TENSORS[f"{name}.stage2_0.keep_rel"]])
        check_score(cuts[16], NEXT_TENSORS[f"{name}.stage2_0.score"])
    boxes = trace.boxes(0)
    assert torch.equal(boxes[:, 0].isnan(), whole < 0)
    width, height = case["image_size_wh"]
    covered = boxes[whole >= 0]
    assert covered[:, 0].min() <= 0 and covered[:, 2].max() >= width and covered[:, 3].max() >= height


def check_tiles(name, cut, whole) -> None:
    for label in ("local", "global"):
        picks = NEXT_TENSORS[f"{name}.{label}_idx"]
        flat = (picks + 576 * torch.arange(len(picks))[:, None]).flatten()
        expected = torch.isin(whole, flat)  # what unpadding leaves of the picks
        assert torch.equal(cut.labels[label], expected.nonzero()[:, 0])
    dropped = cut.merged_into >= 0
    assert torch.isin(cut.merged_into[dropped], cut.kept).all() and not dropped[whole < 0].any()
    same_tile = whole[dropped.nonzero()[:, 0]] // 576 == whole[cut.merged_into[dropped]] // 576
    assert same_tile.all()


@pytest.mark.parametrize("case", QWEN["cases"], ids=lambda case: case["id"])
def test_qwen(qwen, case) -> None:
    name, image = case["id"], case["image"]
    small = cells(QWEN_TENSORS[f"img.{image}.small"])
    ids = QWEN_TENSORS[f"prompt.{image}.ids"][None]
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == qwen.config.image_token_id).int(),
        "pixel_values": small[:, :, None].expand(-1, -1, 2, -1, -1).reshape(len(small), -1),
        "image_grid_thw": torch.tensor([case["image_grid_thw"]]),
    }
    later = dict(zip(case["layer_list"], case["image_token_ratio_list"], strict=True))
    method = vc.VScan(encoder_keep=float(case["image_token_ratio"]), llm_keep=later)
    positions = record_positions(qwen)
    out, trace = greedy(qwen, method, inputs)
    positions.hook.remove()
    check_generated(out, name, QWEN_TENSORS)
    assert torch.equal(torch.cat(positions.seen[1:], dim=-1).T, QWEN_TENSORS[f"{name}.pos_decode"])
    cuts = {cut.layer: cut for cut in trace.images[0].cuts}
    if 0 in cuts:
        check_encoder_cut(name, image, cuts.pop(0), positions.seen[0])
    for number, layer in enumerate(sorted(cuts)):
        assert torch.equal(cuts[layer].kept, QWEN_TENSORS[f"{name}.stage2_{number}.keep_tok"].long())
        check_score(cuts[layer], QWEN_TENSORS[f"{name}.stage2_{number}.score"])
    assert len(cuts) == len(later)


class record_positions:
    """The M-RoPE ids that enter the decoder stack: (3, length) of each call."""

    def __init__(self, model) -> None:
        self.seen: list[torch.Tensor] = []
        self.hook = model.model.language_model.rotary_emb.register_forward_hook(
            lambda module, args, kwargs, out: self.seen.append((args[1:] or (kwargs["position_ids"],))[0][-3:, 0]),
            with_kwargs=True,
        )


def check_encoder_cut(name, image, cut, positions) -> None:
    assert torch.equal(cut.kept, QWEN_TENSORS[f"{name}.keep_idx"].long())
    for label in ("local", "global"):
        assert torch.equal(cut.labels[label], QWEN_TENSORS[f"{name}.{label}_idx"].long().sort().values)
        expected = QWEN_TENSORS[f"img.{image}.attn_{label}"]
        torch.testing.assert_close(cut.scores[label], expected, atol=2e-6, rtol=0)
    dropped = (cut.merged_into >= 0).nonzero()[:, 0]
    assert torch.equal(cut.merged_into[dropped], cut.kept[QWEN_TENSORS[f"{name}.assign"].long()])
    if f"{name}.pos_prefill" in QWEN_TENSORS:
        assert torch.equal(positions, QWEN_TENSORS[f"{name}.pos_prefill"])
